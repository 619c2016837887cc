"""The ClientApp that a SuperNode starts in a deployment, for a client or beside an aggregation party.

It goes by what its own host says: `--node-config` names files of this host. No key and no configuration ever comes
over Flower. It is started anew for every message, so nothing heavy is imported before a round. On Flower's simulation
engine, where nodes have no hosts, a virtual one goes by the run's configuration, as the ServerApp beside it does.
"""

from __future__ import annotations

import logging
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from flwr.app import Context
from flwr.clientapp import ClientApp

from fl_core.config import ConfigError, RunConfig
from fl_core.config_file import load_config
from fl_core.engines.flower.aggregator import AggregatorNode, AggregatorSettings
from fl_core.engines.flower.apps import Node, client_app
from fl_core.engines.flower.client import ClientNode, ClientSettings
from secagg.deployment.parties_file import load_deployment

if TYPE_CHECKING:
    from fl_core.engines.flower.simulation import Simulated
    from fl_core.task import FederatedTask

Kind = TypeVar("Kind", str, int)

__all__ = ["node_app", "node_of"]


def node_app() -> ClientApp:
    """The ClientApp of `deploy/`."""
    return client_app(node_of)


def node_of(context: Context) -> Node:
    """The node that a SuperNode's `--node-config` describes; in an actor of Flower's simulation engine, a virtual one.

    Raises:
        SottoError: naming the entry that is missing or impossible.
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if "role" not in context.node_config and _in_actor():
        return _simulated(str(context.run_config["config"]), _entry(context, "num-partitions", int)).node(context)
    role = _entry(context, "role", str)
    if role == "aggregator":
        parties, spool = Path(_entry(context, "parties", str)), Path(_entry(context, "spool", str))
        return AggregatorNode(AggregatorSettings(parties, _entry(context, "rank", int), spool))
    if role != "client":
        raise ConfigError(f"--node-config: role is {role!r}; allowed: client, aggregator")
    config = load_config(Path(_entry(context, "config", str)), [])
    parties, keys = Path(_entry(context, "parties", str)), Path(_entry(context, "keys", str))
    return ClientNode(ClientSettings(config, parties, keys, (_entry(context, "client", int),)), _build_task)


def _in_actor() -> bool:
    """Whether this process is one of Ray's, as no SuperNode's is."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


@cache
def _simulated(path: str, nodes: int) -> Simulated:
    config = load_config(Path(path), [f"flower.nodes={nodes}"])
    folder = Path(config.aggregation.deployment or "").resolve()
    if load_deployment(folder / "parties.yaml").enrolment.cohort is None:
        raise ConfigError(f"{folder} has no cohort, with whose key simulated clients sign; see sotto party init")
    from fl_core.engines.flower.simulation import Simulated

    return Simulated(config, folder, None, _build_task)


def _build_task(config: RunConfig) -> FederatedTask:
    from experiments.tasks import build_task

    return build_task(config)


def _entry(context: Context, name: str, kind: type[Kind]) -> Kind:
    value = context.node_config.get(name)
    if type(value) is not kind:
        given = "missing" if value is None else repr(value)
        raise ConfigError(f"--node-config: {name} is {given}; allowed: a {'number' if kind is int else 'text'}")
    return value
