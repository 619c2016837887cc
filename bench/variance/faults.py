"""Faults planted in the noise of opened sums, each of which the variance must show.

Every one leaves the ledger as it is. A fault that needs drop-outs to show is looked for in the round that has some.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from bench.audit.faults import PartyZeroAddsNothing
from bench.noise.privacy_grid import MECHANISMS
from bench.variance.grid import CLIENTS, COLLUDERS, N_MIN, PARTIES, VANISHED, Combination
from bench.variance.rounds import VICTIM, Plant, zero_task
from fl_core.cohort import Contributions
from fl_core.config import RunConfig
from fl_core.engines import cohort_work
from fl_core.engines.flower import sealing
from fl_core.privacy_plan import PrivacyPlan, plan_privacy
from fl_core.rounds import joint_message, noisy_message
from fl_core.task import FederatedTask
from secagg import aggregator, noise_removal
from secagg.messages import ClientMessage, RoundSpec
from secagg.noise_shares import NoisePlan
from secagg.randomness import Keystream

__all__ = ["FAULTS", "NoiseFault"]

_until_the_end = contextlib.ExitStack()  # a context that nobody holds would be left at once


@dataclass(frozen=True)
class NoiseFault:
    """A fault in one combination.

    Attributes:
        name: in words.
        combination: where.
        plant: what is wrong.
        left: index of each round that has it, and the ratio of the variance there to the promised one.
    """

    name: str
    combination: Combination
    plant: Plant
    left: Mapping[int, float]

    def __str__(self) -> str:
        return f"{self.name}, {self.combination}"


def _smaller(factor: float) -> Callable[[NoisePlan], NoisePlan]:
    return lambda noise: replace(noise, client_std=factor * noise.client_std, server_std=factor * noise.server_std)


def _smaller_at_nodes(factor: float) -> contextlib.AbstractContextManager[object]:
    """Flower's nodes make a plan each: theirs has the fault."""

    def plan(config: RunConfig, length: int, contributions: int) -> PrivacyPlan:
        found = plan_privacy(config, length, contributions)
        return replace(found, noise=_smaller(factor)(found.noise))

    return mock.patch.object(sealing, "plan_privacy", plan)


@contextlib.contextmanager
def _share_missing() -> Iterator[None]:
    """The client `VICTIM` adds no noise, wherever in this process its message is made."""

    def joint(spec: RoundSpec, part: Contributions, noise: NoisePlan, streams: Sequence[Keystream]) -> ClientMessage:
        others = [own for client, own in zip(part.clients, streams, strict=True) if client != VICTIM]
        return joint_message(spec, part, noise, others)

    def single(
        spec: RoundSpec, client: int, vector: NDArray[np.int64], noise: NoisePlan, parties: int, own: Keystream
    ) -> ClientMessage:
        theirs = replace(noise, client_std=0.0) if client == VICTIM else noise
        return noisy_message(spec, client, vector, theirs, parties, own)

    def apart(
        spec: RoundSpec, part: Contributions, noise: NoisePlan, parties: int, streams: Sequence[Keystream]
    ) -> Iterator[ClientMessage]:
        for client, vector, own in zip(part.clients, part.totals, streams, strict=True):
            yield single(spec, client, vector, noise, parties, own)

    with (
        mock.patch.object(cohort_work, "joint_message", joint),
        mock.patch.object(cohort_work, "cohort_messages", apart),
        mock.patch.object(sealing, "noisy_message", single),
    ):
        yield


def task_without_a_share(config: RunConfig) -> FederatedTask:
    """`zero_task`, in a worker that leaves `VICTIM`'s share out from then on, until the process ends."""
    _until_the_end.enter_context(_share_missing())
    return zero_task(config)


@contextlib.contextmanager
def _removal_for(more: int) -> Iterator[None]:
    """XNoise's surplus is taken away as if so many more clients had survived, or fewer."""

    def pretended(spec: RoundSpec, survivors: int) -> int:
        return min(survivors + more, len(spec.clients))

    def components(spec: RoundSpec, survivors: int) -> range:
        return noise_removal.surplus_components(spec, pretended(spec, survivors))

    def noise(spec: RoundSpec, survivors: int, *rest: object) -> NDArray[np.int64]:
        return noise_removal.surplus_noise(spec, pretended(spec, survivors), *rest)  # type: ignore[arg-type]

    with (
        mock.patch.object(aggregator, "surplus_components", components),
        mock.patch.object(aggregator, "surplus_noise", noise),
    ):
        yield


def _where(
    mechanism: str, trust: str = "distributed", backend: str = "plaintext", engine: str = "local", unit: str = "client",
    by: str = "clients", scheme: str = "oversize",
) -> Combination:  # fmt: skip
    return Combination(mechanism, trust, unit, backend, by, scheme, engine)


_GONE = VANISHED[1]
_SURVIVORS = CLIENTS - _GONE
_HALF, _half = {0: 0.5, 1: 0.5}, Plant(noise=_smaller(math.sqrt(0.5)))
_SHARE = {0: (CLIENTS - 1) / CLIENTS, 1: (_SURVIVORS - 1) / _SURVIVORS}
_share = Plant(here=_share_missing, build=task_without_a_share)
_silent_party = Plant(aggregator=PartyZeroAddsNothing)
_EXPECTED = (N_MIN - COLLUDERS) / CLIENTS
# Of variances in z^2: what the clients' XNoise has, and the parties besides.
_BOTH = N_MIN / (N_MIN - COLLUDERS)

FAULTS: tuple[NoiseFault, ...] = (
    *(
        NoiseFault("half of the variance", _where(mechanism, trust, unit="example"), _half, _HALF)
        for mechanism in MECHANISMS
        for trust in ("central", "local", "distributed")
    ),
    NoiseFault("half of the variance", _where("discrete_gaussian", backend="smpc"), _half, _HALF),
    NoiseFault(
        "half of the variance", _where("skellam", backend="smpc", engine="flower"),
        Plant(here=lambda: _smaller_at_nodes(math.sqrt(0.5))), _HALF,
    ),
    NoiseFault(
        "shares are sized for all clients that were expected", _where("discrete_gaussian"),
        Plant(noise=_smaller(math.sqrt(_EXPECTED))), {0: _EXPECTED, 1: _EXPECTED},
    ),
    *(
        NoiseFault("one client's share is missing", combination, _share, _SHARE)
        for combination in (
            _where("discrete_gaussian"),
            _where("skellam", backend="smpc", unit="example"),
            _where("gaussian", "local"),
            _where("discrete_gaussian", backend="smpc", engine="flower"),
            _where("discrete_gaussian", engine="workers"),
        )
    ),
    # With nobody gone there is no component left that could be taken away besides.
    *(
        NoiseFault(
            "a component of noise too many is taken away", _where(mechanism, scheme="xnoise"),
            Plant(here=lambda: _removal_for(1)), {1: _SURVIVORS / (_SURVIVORS + 1)},
        )
        for mechanism in ("discrete_gaussian", "skellam")
    ),
    NoiseFault(
        "a component of noise too few is taken away", _where("skellam", scheme="xnoise"),
        Plant(here=lambda: _removal_for(-1)), {0: CLIENTS / (CLIENTS - 1), 1: _SURVIVORS / (_SURVIVORS - 1)},
    ),
    NoiseFault(
        "one of three aggregators adds nothing", _where("discrete_gaussian", backend="smpc", by="aggregators"),
        _silent_party, dict.fromkeys((0, 1), (PARTIES - 1) / PARTIES),
    ),
    NoiseFault(
        "one of three aggregators adds nothing", _where("skellam", backend="smpc", by="both", scheme="xnoise"),
        _silent_party, dict.fromkeys((0, 1), (_BOTH + PARTIES - 1) / (_BOTH + PARTIES)),
    ),
)  # fmt: skip
