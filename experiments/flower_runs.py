"""Runs under Flower: whether it is there, the spool of simulated parties, and the rounds over its nodes.

Flower is imported only when a run asks for it. Configurations in, run folders out, as with the local engine.
"""

from __future__ import annotations

import contextlib
import importlib.util
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from experiments.progress import RunProgress
from experiments.tasks import build_task
from fl_core.config import ConfigError, RunConfig
from fl_core.engines.flower.exchange import Relay
from fl_core.engines.flower.source import FlowerClients
from fl_core.engines.message_source import MessageSource
from secagg.smpc import SmpcAggregator

__all__ = ["flower_rounds", "refuse_missing_flower", "spool_folder"]


def refuse_missing_flower(config: RunConfig, simulated: bool) -> None:
    """Refuse a run that asks for Flower where it, or for a simulation Ray, is not installed.

    Raises:
        ConfigError: naming what to install.
    """
    if config.engine.name != "flower":
        return
    for module, name in (("flwr", "Flower"), ("ray", "Ray, on which Flower simulates,")):
        if importlib.util.find_spec(module) is None and (simulated or module == "flwr"):
            raise ConfigError(f"engine.name is 'flower', but {name} is not installed; install Sotto's extra `flower`")


@contextlib.contextmanager
def spool_folder(config: RunConfig) -> Iterator[Path | None]:
    """A folder for the spool of parties that this machine starts for itself; None where none is needed."""
    own = config.aggregation.deployment is None and config.flower.relay == "aggregators"
    if config.engine.name != "flower" or not own:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="sotto-spool-") as folder:
        yield Path(folder)


def flower_rounds(
    config: RunConfig,
    aggregator: SmpcAggregator,
    spool: Path | None,
    relay: Relay | None,
    progress: RunProgress,
    rounds: Callable[[MessageSource], str],
) -> str:
    """All rounds with messages from Flower's nodes; returns why they ended.

    Args:
        config: the resolved configuration.
        aggregator: coordinator of the parties.
        spool: of parties of its own, if they have one.
        relay: to the nodes of a deployment; None: they are simulated in this process.
        progress: told how it goes.
        rounds: the round loop.
    """

    def work(relay: Relay) -> str:
        source = FlowerClients(relay, config, aggregator, progress.note)
        progress.say("waiting for SuperNodes")
        source.connect()
        progress.say("")
        return rounds(source)

    if relay is not None:
        return work(relay)
    from fl_core.engines.flower.simulation import Simulated, simulate

    progress.say("starting Flower's simulation engine")
    daemons, deployment = aggregator.members.daemons, config.aggregation.deployment
    folder = daemons.folder if daemons is not None else Path(deployment or "")
    return simulate(Simulated(config, folder.resolve(), spool, build_task), work)
