"""Rounds of the real pipe whose protected contributions are canaries, and what an adversary reads off them.

Each canary is a record (unit example) or a client's update (unit client) along a coordinate of its own and longer than
the clip norm, put in or left out by a fair coin. The adversary knows everything that the audited view allows: the
noise of colluding clients and of all aggregators but one is taken away again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from fl_core.cohort import Contributions
from fl_core.config import AggregationConfig, FederationConfig, NoiseConfig, PrivacyConfig, RunConfig
from fl_core.privacy.ledger import Ledger, read_ledger, summary
from fl_core.privacy_plan import budget_view, ledger_header, ledger_opening, plan_privacy
from fl_core.rounds import noisy_message
from kernels import clip_and_sum_counted, squared_norms
from secagg import PlaintextAggregator, RoundSpec
from secagg.randomness import Keystream
from tests.fl_core.noisy_sum import open_noisy_sum
from tests.fl_core.three_parties import ThreeParties

CANARIES, DELTA = 2000, 1e-5


@dataclass(frozen=True)
class Setting:
    """One combination of what can be configured; noise multiplier 1, clip norm 1."""

    mechanism: str = "discrete_gaussian"
    unit: str = "example"
    trust: str = "distributed"
    by: str = "clients"
    dropout: str = "oversize"
    parties: int = 3
    vanished: int = 0

    @property
    def config(self):
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


def coins(seed):
    return np.random.default_rng(seed).random(CANARIES) < 0.5


def clipped(rows, clip_norm, owners, scale, clients):
    """What every client contributes: its canaries, each clipped to the grid by itself."""
    return clip_and_sum_counted(rows, squared_norms(rows), clip_norm, owners, scale, clients).total


class CanaryRounds:
    """Rounds of one setting: `play` them, then ask for `epsilon` (claimed by the ledger).

    Args:
        setting: what is configured.
        folder: for the ledger.
        faulty: changes the noise plan that is really used; the ledger is told of the right one.
        clip: in place of `clipped`.
    """

    def __init__(self, setting, folder, faulty=lambda noise: noise, clip=clipped, aggregator=None):
        self.setting, self.config, self.clip = setting, setting.config, clip
        self.plan = plan_privacy(self.config, CANARIES, CANARIES)
        self.used = replace(self.plan, noise=faulty(self.plan.noise))
        self.view = budget_view(self.config)
        self.path = folder / "ledger.jsonl"
        self.ledger = Ledger.create(self.path, ledger_header(self.config, self.plan, "run"))
        self.aggregator = aggregator or (ThreeParties() if setting.parties > 1 else PlaintextAggregator())
        self.rounds = 0

    def play(self, included, seed, sign=1):
        """Open one round over the canaries that are in, `sign` times each; the adversary's score of every canary."""
        self.rounds += 1
        clients, spec = self._clients(), self._spec()
        present = range(self.setting.vanished, clients)
        totals = self._totals(included, sign)
        root = Keystream.seeded(seed)
        streams = {client: root.child(client) for client in present}
        sent = Contributions(tuple(present), totals[self.setting.vanished :].numpy().copy())

        def before_opening(found):
            self.ledger.append(ledger_opening(self.plan, self.rounds, 0, found))

        opened = open_noisy_sum(
            spec, [sent], self.used.noise, self.aggregator, streams, root.child("server"), before_opening
        )
        if self.view == "local":
            return self._of_own_messages(spec, totals, streams)
        return (opened.total - self._known(spec, streams)).astype(np.float64)

    def epsilon(self):
        """What the ledger says of the strongest adversary that the trust model names."""
        self.ledger.close()
        return getattr(summary(read_ledger(self.path)).views, self.view).epsilon

    def heard(self, values):
        """Of one value for each canary those of canaries whose owner did not vanish."""
        return values[self._owners() >= self.setting.vanished]

    def _owners(self):
        return np.arange(CANARIES) % self._clients()

    def _clients(self):
        return self.config.federation.clients

    def _spec(self):
        # Models differ by round, as they do in a run.
        return RoundSpec(
            "run", self.rounds, 0, range(self._clients()), CANARIES, self.config.n_min, self.plan.grid.scale,
            model=f"{self.rounds:064x}", noise=self.used.round_noise(),
        )  # fmt: skip

    def _totals(self, included, sign):
        clients = self._clients()
        rows = sign * 2.0 * torch.eye(CANARIES)[torch.from_numpy(np.flatnonzero(included))]
        owners = torch.from_numpy(self._owners()[included])
        return self.clip(rows, self.config.privacy.clip_norm, owners, self.plan.grid.scale, clients)

    def _known(self, spec, streams):
        """The noise that the adversary knows: of the last `colluders` clients, and of all parties but one."""
        known = np.zeros(CANARIES, dtype=np.int64)
        for client in list(streams)[len(streams) - self.config.federation.colluders :]:
            known += noisy_message(spec, client, np.zeros_like(known), self.used.noise, 1, streams[client]).shares.body
        if spec.noise.aggregator_std:
            known += sum(self.aggregator.noise_of(party) for party in range(1, self.setting.parties))
        return known

    def _of_own_messages(self, spec, totals, streams):
        """Each canary's coordinate in its owner's own message."""
        scores = np.zeros(CANARIES)
        for client, stream in streams.items():
            vector = totals[client].numpy().copy()
            body = noisy_message(spec, client, vector, self.used.noise, 1, stream).shares.body
            own = self._owners() == client
            scores[own] = body[own]
        return scores
