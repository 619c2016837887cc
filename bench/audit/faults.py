"""Faults planted in rounds of canaries, each of which the audit must catch: the bound comes out above the claim.

The claim is that of the ledger, which is told nothing of the fault. Each fault is one that a private system can have
while everything still looks right: what is opened is as noisy to the eye as it should be, or nearly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.audit.rounds import CANARIES, Audited, CanaryRounds, Setting, clipped
from bench.noise.three_parties import ThreeParties
from fl_core import rounds
from kernels import clip_and_sum_counted, squared_norms
from secagg.noise_shares import NoisePlan
from secagg.randomness import Keystream

__all__ = ["FAULTS", "Fault", "PartyZeroAddsNothing", "no_share_of_the_first"]

_LONG, _BATCH = 5, 5  # private gradients may be longer than the clip norm; records of a batch


@dataclass(frozen=True)
class Fault:
    """A fault in one setting.

    Attributes:
        name: in words.
        setting: where.
        play: audits rounds that have the fault; takes the setting, an empty folder and a seed.
    """

    name: str
    setting: Setting
    play: Callable[[Setting, Path, int], Audited]

    def __str__(self) -> str:
        return f"{self.name}, {self.setting}"


class PartyZeroAddsNothing(ThreeParties):
    """Three parties of which the only honest one forgets its noise."""

    def noise_of(self, party: int) -> NDArray[np.int64]:
        """See `ThreeParties.noise_of`."""
        return super().noise_of(party) if party else np.zeros(self.spec.length, dtype=np.int64)


def no_share_of_the_first() -> mock._patch[Callable[..., tuple[bytes, ...]]]:
    """Within it, the first client that is to add noise adds none, in this and all later messages of its stream."""
    add = rounds._add_own_noise
    first: list[bytes] = []

    def without(vector: NDArray[np.int64], noise: NoisePlan, own: Keystream) -> tuple[bytes, ...]:
        first[:] = first or [own.export_key()]
        return () if own.export_key() == first[0] else add(vector, noise, own)

    return mock.patch.object(rounds, "_add_own_noise", without)


def _too_small(setting: Setting, folder: Path, seed: int) -> Audited:
    """Noise too small by the root of ten."""

    def small(noise: NoisePlan) -> NoisePlan:
        return replace(noise, client_std=noise.client_std / 10**0.5, server_std=noise.server_std / 10**0.5)

    played = CanaryRounds(setting, folder, seed, small)
    return played.audited(played.play())


def _share_missing(setting: Setting, folder: Path, seed: int) -> Audited:
    """Two clients are left, one of them colluding, and the honest one's share is missing."""
    played = CanaryRounds(setting, folder, seed)
    with no_share_of_the_first():
        return played.audited(played.play())


def _aggregator_silent(setting: Setting, folder: Path, seed: int) -> Audited:
    played = CanaryRounds(setting, folder, seed, aggregator=PartyZeroAddsNothing(seed))
    return played.audited(played.play())


def _seed_reused(setting: Setting, folder: Path, seed: int) -> Audited:
    """The second model makes every contribution turn round; the same noise then falls out of the difference."""
    played = CanaryRounds(setting, folder, seed)
    scores = played.play(stream=1) - played.play(sign=-1, stream=1)
    # An attacker who is never wrong guesses half of the canaries: that bounds two rounds' larger claim with a margin.
    return played.audited(scores, CANARIES // 2)


def _layer_missed(setting: Setting, folder: Path, seed: int) -> Audited:
    """The clip looks at the first tenth of the coordinates only."""

    def first_layer_only(rows: Tensor, clip_norm: float, owners: Tensor, scale: int, clients: int) -> Tensor:
        missed = CANARIES // 10  # where the second layer begins
        rows = _LONG * rows
        layer = rows[:, :missed]
        first = clip_and_sum_counted(layer, squared_norms(layer), clip_norm, owners, scale, clients)
        second = torch.zeros(clients, CANARIES - missed, dtype=torch.int64)
        second.index_add_(0, owners, (rows[:, missed:] * scale).long())
        return torch.cat([first.total, second], 1)

    played = CanaryRounds(setting, folder, seed, clip=first_layer_only)
    return played.audited(played.play())


def _scaled_after(setting: Setting, folder: Path, seed: int) -> Audited:
    """Gradients of a loss that is a mean over the batch are clipped first and multiplied by its size afterwards."""

    def too_early(rows: Tensor, clip_norm: float, owners: Tensor, scale: int, clients: int) -> Tensor:
        return _BATCH * clipped(rows, clip_norm, owners, scale, clients)

    played = CanaryRounds(setting, folder, seed, clip=too_early)
    return played.audited(played.play())


_MECHANISMS = ("gaussian", "discrete_gaussian", "skellam")
_CENTRAL = Setting(trust="central", parties=1)

FAULTS: tuple[Fault, ...] = (
    *(
        Fault("noise too small by the root of ten", Setting(mechanism, trust=trust, parties=parties), _too_small)
        for trust, parties in (("central", 1), ("local", 1), ("distributed", 3))
        for mechanism in _MECHANISMS
    ),
    Fault("the only honest client's share is missing", Setting(vanished=4), _share_missing),
    Fault("the only honest aggregator adds nothing", Setting(by="aggregators"), _aggregator_silent),
    Fault("two rounds share their noise", _CENTRAL, _seed_reused),
    Fault("two rounds share their noise", Setting(), _seed_reused),
    Fault("the clip misses a layer", Setting(), _layer_missed),
    Fault("the clip misses a layer", Setting(unit="client"), _layer_missed),
    Fault("the clip comes before the batch's factor", Setting(), _scaled_after),
)
