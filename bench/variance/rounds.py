"""Runs of two rounds whose every contribution is zero: what is opened is the noise, and nothing else.

The whole pipe: a model with an adapter of tens of thousands of weights, records, sampling coins, gradients or local
training, clip, grid, noise, shares, envelopes, parties, ledger. Every record is a vector of zeros, and so is every
gradient of a LoRA layer behind it, whatever the adapter has become. Gives the opened sums beside what the ledger says
of them.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.variance.grid import CLIENTS, COORDINATES, DROPOUT, STEP, VANISHED, Combination
from bench.variance.nodes import InMemoryRelay, client_nodes
from fl_core.adapters import attach_adapter, flat_adapter
from fl_core.config import RunConfig
from fl_core.engines.flower.exchange import Relay
from fl_core.engines.flower.source import FlowerClients
from fl_core.engines.local import LocalClients
from fl_core.engines.message_source import MessageSource, RoundRequest
from fl_core.engines.round_loop import RoundLoop
from fl_core.engines.worker import TaskBuilder
from fl_core.engines.worker_pool import WorkerPool
from fl_core.privacy.ledger import Ledger, read_ledger
from fl_core.privacy_plan import PrivacyPlan, ledger_header, plan_privacy
from fl_core.run_folder import RunFolder
from fl_core.sampling import poisson_coin
from fl_core.task import FederatedTask
from secagg import PlaintextAggregator, SmpcAggregator
from secagg.aggregator import Aggregator, BeforeOpening
from secagg.messages import RoundSum
from secagg.noise_shares import NoisePlan
from secagg.randomness import Keystream

__all__ = ["HONEST", "VICTIM", "Opened", "Plant", "open_zeros", "run_name", "zero_task"]

_OUT, _RECORDS = 10, 2


@dataclass(frozen=True)
class Opened:
    """One opened sum of zeros.

    Attributes:
        total: int64 grid steps `[coordinates]`.
        survivors: how many clients are in it, by the ledger.
        multiplier: noise multiplier that the ledger promises.
        promised: standard deviation in grid steps that the ledger promises.
    """

    total: NDArray[np.int64]
    survivors: int
    multiplier: float
    promised: float


@dataclass(frozen=True)
class Plant:
    """A fault, in the places where one can be; by default none.

    Attributes:
        noise: of the plan that the clients and the server go by, while the ledger has the right one.
        here: within it this process has the fault.
        build: makes the task in workers, which then have the fault.
        aggregator: in place of the combination's.
    """

    noise: Callable[[NoisePlan], NoisePlan] = lambda noise: noise
    here: Callable[[], contextlib.AbstractContextManager[object]] = contextlib.nullcontext
    build: TaskBuilder | None = None
    aggregator: Callable[[], Aggregator] | None = None


HONEST = Plant()
VICTIM = 0  # a client that never vanishes, for faults of one client


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc = nn.Linear(STEP - _OUT, _OUT)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.fc(x)
        return found


def zero_task(config: RunConfig) -> FederatedTask:
    """Two records of zeros for each client; a module names it, for workers and actors."""
    net = _Net()
    width = net.fc.in_features

    def batch(records: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        return torch.zeros(len(records), width), torch.from_numpy(records % _OUT)

    records = np.arange(_RECORDS * config.federation.clients)
    return FederatedTask(
        name="zeros",
        model=attach_adapter(net, config.lora),
        clients=tuple(np.array_split(records, config.federation.clients)),
        batch=batch,
        loss=lambda output, inputs: F.cross_entropy(output, inputs[1], reduction="none"),
        evaluate=lambda model: {},
        source="zeros",
    )


def run_name() -> str:
    """A new run's id, by which so many clients vanish in its two rounds as `VANISHED` says.

    A simulation's outages follow from the run's id and are no secret (`fl_core.engines.round_loop`).
    """
    while True:
        name = uuid.uuid4().hex
        random = Keystream.seeded(name.encode())
        if all(_fits(random.child("dropout", number), wanted) for number, wanted in enumerate(VANISHED, 1)):
            return name


def _fits(outages: Keystream, wanted: int) -> bool:
    """Whether so many clients vanish by a round's outages, and `VICTIM` is not one of them."""
    gone = [client for client in range(CLIENTS) if poisson_coin(DROPOUT, outages.child(client))]
    return len(gone) == wanted and VICTIM not in gone


def open_zeros(
    combination: Combination,
    folder: Path,
    parties: SmpcAggregator | None,
    plant: Plant = HONEST,
    coordinates: int = COORDINATES,
) -> list[Opened]:
    """Run two rounds; what each opened.

    Args:
        combination: what is configured.
        folder: for the run, which must not be there yet.
        parties: real ones, for backend smpc.
        plant: a fault.
        coordinates: of a sum, a multiple of `STEP`.

    Raises:
        RuntimeError: if other clients vanished than were to, or a round was not opened.
        SottoError: what runs raise.
    """
    config = combination.config(coordinates)
    aggregator: Aggregator = PlaintextAggregator()
    if plant.aggregator is not None:
        aggregator = plant.aggregator()
    elif combination.backend == "smpc":
        if parties is None:
            raise RuntimeError("backend smpc needs parties")
        aggregator = parties
    with plant.here():
        task = zero_task(config)
        plan = plan_privacy(config, len(flat_adapter(task.model)), task.records)
        used = replace(plan, noise=plant.noise(plan.noise))
        with (
            RunFolder(folder) as run,
            Ledger.create(run.ledger_path, ledger_header(config, plan, run_name())) as ledger,
        ):

            def rounds(source: MessageSource) -> list[NDArray[np.int64]]:
                kept = _Keeping(source)
                RoundLoop(task, config, plan, run, ledger, aggregator, None, kept).run(lambda report: None)
                return kept.totals

            totals = _engine(combination.engine, config, task, used, plant.build or zero_task, aggregator, rounds)
            path = run.ledger_path
        written = read_ledger(path)
    openings, scale = written.openings, written.header.scale
    survivors = [opening.survivors for opening in openings]
    if survivors != [CLIENTS - gone for gone in VANISHED] or len(totals) != len(openings):
        raise RuntimeError(f"{combination}: sums of {survivors} clients, {len(totals)} of them seen")
    return [
        Opened(total, opening.survivors, opening.noise_multiplier, opening.noise_multiplier * scale)
        for total, opening in zip(totals, openings, strict=True)
    ]


def _engine(
    engine: str,
    config: RunConfig,
    task: FederatedTask,
    plan: PrivacyPlan,
    build: TaskBuilder,
    aggregator: Aggregator,
    rounds: Callable[[MessageSource], list[NDArray[np.int64]]],
) -> list[NDArray[np.int64]]:
    """What the rounds give with the engine's messages."""
    if engine == "local":
        return rounds(LocalClients(task, config, plan))
    if engine == "workers":
        with WorkerPool(task, config, plan, build) as pool:
            return rounds(LocalClients(task, config, plan, pool))
    if not isinstance(aggregator, SmpcAggregator):
        raise RuntimeError(f"engine {engine} needs real parties")
    real = aggregator

    def over(relay: Relay) -> list[NDArray[np.int64]]:
        source = FlowerClients(relay, config, real, lambda note: None)
        source.connect()
        return rounds(source)

    if engine == "flower":
        return over(InMemoryRelay(client_nodes(config, real, build)))
    from fl_core.engines.flower.simulation import Simulated, simulate

    return simulate(Simulated(config, real.key_folder, None, build), over)


class _Keeping:
    """A source of messages that keeps what was opened, the server's noise in it."""

    def __init__(self, source: MessageSource) -> None:
        self._source = source
        self.totals: list[NDArray[np.int64]] = []

    @property
    def refused(self) -> int:
        """See `MessageSource`."""
        return self._source.refused

    def open_sum(self, request: RoundRequest, aggregator: Aggregator, before_opening: BeforeOpening) -> RoundSum:
        """See `MessageSource.open_sum`."""
        opened = self._source.open_sum(request, aggregator, before_opening)
        self.totals.append(opened.total.copy())
        return opened

    def row(self) -> dict[str, float]:
        """See `MessageSource.row`."""
        return self._source.row()
