"""Rounds of the real pipe whose protected contributions are canaries, and what an adversary reads off them.

Each canary is a record (unit example) or a client's update (unit client) along a coordinate of its own and longer than
the clip norm, put in or left out by a fair coin. The adversary knows everything that the audited view allows: the
noise of colluding clients and of all aggregators but one is taken away again. Coins and noise are seeded.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.noise.noisy_sum import open_noisy_sum
from bench.noise.three_parties import ThreeParties
from fl_core.cohort import Contributions
from fl_core.config import AggregationConfig, FederationConfig, NoiseConfig, PrivacyConfig, RunConfig
from fl_core.privacy.ledger import Ledger, read_ledger, summary
from fl_core.privacy.one_run_audit import audit_one_run
from fl_core.privacy_plan import budget_view, ledger_header, ledger_opening, plan_privacy
from fl_core.rounds import noisy_message
from kernels import clip_and_sum_counted, squared_norms
from secagg import PlaintextAggregator, RoundSpec
from secagg.aggregator import Aggregator
from secagg.noise_shares import NoisePlan
from secagg.randomness import Keystream

__all__ = ["CANARIES", "CONFIDENCE", "DELTA", "Audited", "CanaryRounds", "Clip", "Setting", "clipped"]

CANARIES, DELTA, CONFIDENCE = 2000, 1e-5, 0.99

Scores = NDArray[np.float64]
# rows [m, CANARIES], clip norm, owners [m], scale, clients -> int64 [clients, CANARIES]
Clip = Callable[[Tensor, float, Tensor, int, int], Tensor]


@dataclass(frozen=True)
class Setting:
    """One combination of what can be configured; noise multiplier 1, clip norm 1.

    Attributes:
        mechanism, unit, trust: keys of the section privacy.
        by, dropout: keys of the section noise.
        parties: one, plaintext, or three, SMPC.
        vanished: how many clients do before they send.
    """

    mechanism: str = "discrete_gaussian"
    unit: str = "example"
    trust: str = "distributed"
    by: str = "clients"
    dropout: str = "oversize"
    parties: int = 3
    vanished: int = 0

    @property
    def config(self) -> RunConfig:
        """As a run would have it."""
        clients = CANARIES if self.unit == "client" else 6
        colluders = 1 if self.trust == "distributed" and self.dropout == "oversize" else 0
        return RunConfig(
            federation=FederationConfig(
                clients=clients, rounds=2, sample_rate=1.0, n_min=clients - max(self.vanished, 2), colluders=colluders
            ),
            privacy=PrivacyConfig(self.unit, self.trust, self.mechanism, noise_multiplier=1.0, delta=DELTA),
            noise=NoiseConfig(by=self.by, dropout=self.dropout),
            aggregation=AggregationConfig(backend="smpc" if self.parties > 1 else "plaintext"),
        )


@dataclass(frozen=True)
class Audited:
    """What is claimed, and what an attacker's guesses prove.

    Attributes:
        claimed: epsilon by the ledger.
        bound: epsilon is not below this, with `CONFIDENCE`.
    """

    claimed: float
    bound: float


def clipped(rows: Tensor, clip_norm: float, owners: Tensor, scale: int, clients: int) -> Tensor:
    """What every client contributes: its canaries, each clipped to the grid by itself."""
    return clip_and_sum_counted(rows, squared_norms(rows), clip_norm, owners, scale, clients).total


class CanaryRounds:
    """Rounds of one setting: `play` them, then have what they tell `audited`.

    Args:
        setting: what is configured.
        folder: for the ledger, which must not be there yet.
        seed: of coins and noise.
        faulty: changes the noise plan that is really used; the ledger is told of the right one.
        clip: in place of `clipped`.
        aggregator: in place of one that keeps nothing secret.
    """

    def __init__(
        self,
        setting: Setting,
        folder: Path,
        seed: int,
        faulty: Callable[[NoisePlan], NoisePlan] = lambda noise: noise,
        clip: Clip = clipped,
        aggregator: Aggregator | None = None,
    ) -> None:
        self.setting, self.config, self.clip, self.seed = setting, setting.config, clip, seed
        self.plan = plan_privacy(self.config, CANARIES, CANARIES)
        self.used = replace(self.plan, noise=faulty(self.plan.noise))
        self.view = budget_view(self.config)
        self.path = folder / "ledger.jsonl"
        self.run = uuid.uuid4().hex  # real parties open no round of a run twice
        self.ledger = Ledger.create(self.path, ledger_header(self.config, self.plan, self.run))
        self.aggregator = aggregator or (ThreeParties(seed) if setting.parties > 1 else PlaintextAggregator())
        self.included = np.random.default_rng(seed).random(CANARIES) < 0.5
        self.rounds = 0

    def play(self, sign: int = 1, stream: int | None = None) -> Scores:
        """Open one round over the canaries that are in; the adversary's score of every canary.

        Args:
            sign: of every contribution, which the adversary knows: it knows the models.
            stream: round whose randomness is drawn; the same one twice is a fault.
        """
        self.rounds += 1
        clients, spec = self.config.federation.clients, self._spec()
        present = range(self.setting.vanished, clients)
        totals = self._totals(sign)
        root = Keystream.seeded(self.seed).child("round", stream or self.rounds)
        streams = {client: root.child(client) for client in present}
        sent = Contributions(tuple(present), totals[self.setting.vanished :].numpy().copy())

        def before_opening(found: frozenset[int]) -> None:
            self.ledger.append(ledger_opening(self.plan, self.rounds, 0, found))

        opened = open_noisy_sum(
            spec, [sent], self.used.noise, self.aggregator, streams, root.child("server"), before_opening
        )
        if self.view == "local":
            return self._of_own_messages(spec, totals, streams)
        return (opened.total - self._known(spec, streams)).astype(np.float64)

    def audited(self, scores: Scores, guesses: int | None = None) -> Audited:
        """The claim for the strongest adversary that the trust model names, and the bound; nothing is played after.

        Args:
            scores: of every canary, higher for one that is rather in.
            guesses: as `audit_one_run`.
        """
        self.ledger.close()
        claimed = getattr(summary(read_ledger(self.path)).views, self.view).epsilon
        heard = self._owners() >= self.setting.vanished  # the others' owners vanished
        found = audit_one_run(scores[heard], self.included[heard], DELTA, guesses, CONFIDENCE)
        return Audited(claimed, found.epsilon)

    def _owners(self) -> NDArray[np.int64]:
        return np.arange(CANARIES) % self.config.federation.clients

    def _spec(self) -> RoundSpec:
        # Models differ by round, as they do in a run.
        return RoundSpec(
            self.run, self.rounds, 0, range(self.config.federation.clients), CANARIES, self.config.n_min,
            self.plan.grid.scale, model=f"{self.rounds:064x}", noise=self.used.round_noise(),
        )  # fmt: skip

    def _totals(self, sign: int) -> Tensor:
        clients = self.config.federation.clients
        rows = sign * 2.0 * torch.eye(CANARIES)[torch.from_numpy(np.flatnonzero(self.included))]
        owners = torch.from_numpy(self._owners()[self.included])
        return self.clip(rows, self.config.privacy.clip_norm, owners, self.plan.grid.scale, clients)

    def _known(self, spec: RoundSpec, streams: Mapping[int, Keystream]) -> NDArray[np.int64]:
        """The noise that the adversary knows: of the last `colluders` clients, and of all parties but one."""
        known = np.zeros(CANARIES, dtype=np.int64)
        if self.view != "aggregators":
            return known
        for client in list(streams)[len(streams) - self.config.federation.colluders :]:
            known += noisy_message(spec, client, np.zeros_like(known), self.used.noise, 1, streams[client]).shares.body
        if spec.noise.aggregator_std:
            if not isinstance(self.aggregator, ThreeParties):
                raise RuntimeError("real parties tell nobody what noise they add")
            for party in range(1, self.setting.parties):
                known += self.aggregator.noise_of(party)
        return known

    def _of_own_messages(self, spec: RoundSpec, totals: Tensor, streams: Mapping[int, Keystream]) -> Scores:
        """Each canary's coordinate in its owner's own message."""
        scores = np.zeros(CANARIES)
        for client, stream in streams.items():
            vector = totals[client].numpy().copy()
            body = noisy_message(spec, client, vector, self.used.noise, 1, stream).shares.body
            own = self._owners() == client
            scores[own] = body[own]
        return scores
