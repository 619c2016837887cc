"""Flower's simulation engine in this process: virtual SuperNodes on Ray actors, the round loop in Flower's ServerApp.

Takes the work of a ServerApp and what the virtual nodes need; gives the work's result or raises its error. Keys of all
parties and of the cohort are on this machine: a simulation protects nobody from whoever runs it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

# Before Flower is imported: nobody's runs are reported to anyone.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from flwr.simulation import run_simulation

from fl_core.config import RunConfig
from fl_core.engines.flower.aggregator import AggregatorNode, AggregatorSettings
from fl_core.engines.flower.apps import GridRelay, Node, client_app
from fl_core.engines.flower.client import ClientNode, ClientSettings
from fl_core.engines.flower.exchange import Relay
from fl_core.task import FederatedTask
from secagg.errors import SottoError

__all__ = ["Simulated", "simulate"]

Result = TypeVar("Result")

_STOP_S = 60.0  # longest wait for the round loop to notice that it was interrupted
_GRACE_S = 5.0  # for clients that still compute once nobody needs their answers

# Of this process, which is an actor: a task is built once, not once a message.
_tasks: dict[str, FederatedTask] = {}
_nodes: dict[str, Node] = {}


@dataclass(frozen=True)
class Simulated:
    """What virtual nodes need: they stand for all clients, and beside the parties for the aggregators.

    Attributes:
        config: the resolved configuration.
        folder: with `parties.yaml` and the cohort's key.
        spool: the parties' spool, with `flower.relay: aggregators`.
        build_task: model and records; importable by name, for actors.
    """

    config: RunConfig
    folder: Path
    spool: Path | None
    build_task: Callable[[RunConfig], FederatedTask]

    @property
    def client_nodes(self) -> int:
        """Virtual nodes that have clients."""
        return self.config.flower.nodes or self.config.federation.clients

    @property
    def nodes(self) -> int:
        """All virtual nodes."""
        return self.client_nodes + (self.config.aggregation.parties if self.spool else 0)

    def node(self, context: Context) -> Node:
        """The virtual node of a context: clients are dealt out in turn, then come the aggregators."""
        index = int(context.node_config["partition-id"])
        name = f"{self.folder} {index}"
        if name not in _nodes:
            _nodes[name] = self._make(index)
        return _nodes[name]

    def _make(self, index: int) -> Node:
        parties = self.folder / "parties.yaml"
        if self.spool is not None and index >= self.client_nodes:
            return AggregatorNode(AggregatorSettings(parties, index - self.client_nodes, self.spool))
        clients = tuple(range(index, self.config.federation.clients, self.client_nodes))
        return ClientNode(ClientSettings(self.config, parties, self.folder, clients), self._task)

    def _task(self, config: RunConfig) -> FederatedTask:
        name = str(self.folder)
        if name not in _tasks:
            _tasks.clear()
            _tasks[name] = self.build_task(config)
        return _tasks[name]


def simulate(simulated: Simulated, work: Callable[[Relay], Result]) -> Result:
    """Run `work` as the ServerApp of a simulation.

    It ends soon after `work` does, whatever the clients do: Flower waits for every answer that it asked for, so actors
    that are still at one are ended. Until then a client that hangs keeps an actor, of which there is one a core.

    Args:
        simulated: the virtual nodes.
        work: what the ServerApp does.

    Raises:
        Whatever `work` raises; KeyboardInterrupt after `work` has stopped too.
    """
    stop, done, woken = threading.Event(), threading.Event(), threading.Event()
    results: list[Result] = []
    errors: list[BaseException] = []
    failures: list[BaseException] = []

    def main(grid: Grid, _: Context) -> None:
        try:
            results.append(work(GridRelay(grid, stop)))
        except BaseException as error:
            errors.append(error)
        finally:
            done.set()
            woken.set()

    app = ServerApp()
    app.main()(main)

    def run(actors: Path) -> None:
        init = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
        try:
            run_simulation(
                server_app=app,
                client_app=client_app(partial(_node_in_actor, simulated, actors)),
                num_supernodes=simulated.nodes,
                backend_config={"init_args": init, "client_resources": {"num_cpus": 1, "num_gpus": 0.0}},
            )
        except BaseException as error:
            failures.append(error)
        finally:
            woken.set()

    logging.getLogger("flwr").setLevel(logging.ERROR)  # its log would run through the progress
    with (
        tempfile.TemporaryDirectory(prefix="sotto-actors-") as name,
        # Actors inherit it: with as many threads as elsewhere a client's floats are rounded as elsewhere.
        _environment("OMP_NUM_THREADS", str(simulated.config.engine.threads or 1)),
    ):
        actors = Path(name)
        # In a thread: an interruption must not hit Flower and Ray wherever they are.
        engine = threading.Thread(target=run, args=(actors,), name="flower-engine", daemon=True)
        engine.start()
        try:
            woken.wait()
        finally:
            stop.set()
            done.wait(_STOP_S)  # the round loop writes its checkpoint first
            _end(engine, actors)
    if results:
        return results[0]
    for error in errors:
        if isinstance(error, Exception):
            raise error
    raise SottoError(f"Flower's simulation engine failed: {failures[0] if failures else 'it ended early'}")


def _node_in_actor(simulated: Simulated, actors: Path, context: Context) -> Node:
    """A context's node; the process that computes it leaves a handle in `actors`, by which it can be ended."""
    mine = ray.get_runtime_context()
    handle = actors / mine.get_actor_id()
    if not handle.exists():
        whole = handle.with_suffix(".new")
        whole.write_bytes(ray.cloudpickle.dumps(mine.current_actor))
        whole.rename(handle)
    return simulated.node(context)


def _end(engine: threading.Thread, actors: Path) -> None:
    """Wait for Flower's engine, and end the actors that keep it."""
    engine.join(_GRACE_S)
    logging.getLogger("flwr").setLevel(logging.CRITICAL)  # it would log each answer that will not come now
    deadline = time.monotonic() + _STOP_S
    while engine.is_alive() and time.monotonic() < deadline:
        for handle in actors.iterdir():
            # Since it was listed, one may have ended by itself, or all of Ray.
            with contextlib.suppress(Exception):
                if ray.is_initialized() and not handle.suffix:
                    ray.kill(ray.cloudpickle.loads(handle.read_bytes()))
        engine.join(_GRACE_S)


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
