"""Three aggregators in one process that follow the protocol and keep nothing secret."""

from __future__ import annotations

import numpy as np

from secagg import RoundSum
from secagg.noise_draws import draw_noise
from secagg.noise_removal import surplus_components, surplus_noise
from secagg.randomness import Keystream
from secagg.ring import add_wrap
from secagg.sharing import expand


class ThreeParties:
    """Three parties in one process that follow the protocol with the round's own noise, and keep nothing secret."""

    parties = 3
    name = "three parties"
    refused = 0

    def open_round(self, spec):
        self.spec, self.clients, self.seeds = spec, [], {}
        self.shares = [np.zeros(spec.length, dtype=np.int64) for _ in range(self.parties)]

    def submit(self, message):
        for share, part in zip(
            self.shares,
            (message.shares.body, *(expand(s, self.spec.length) for s in message.shares.seeds)),
            strict=True,
        ):
            add_wrap(share, part)
        self.clients += message.clients
        self.seeds[message.clients[0]] = message.noise_seeds

    def close(self, before_opening):
        before_opening(frozenset(self.clients))
        count = len(self.clients)
        surplus = surplus_components(self.spec, count)
        if surplus:
            seeds = {client: [own[k] for k in surplus] for client, own in self.seeds.items()}
            add_wrap(self.shares[0], -surplus_noise(self.spec, count, seeds, lambda: None))
        for party, share in enumerate(self.shares):
            add_wrap(share, self.noise_of(party))
        return RoundSum(sum(self.shares), frozenset(self.clients))

    def noise_of(self, party):
        """What one party adds to its share."""
        noise = self.spec.noise
        source = Keystream.seeded(f"party {party} of {len(self.clients)}".encode())
        return draw_noise(noise.mechanism, noise.aggregator_std, self.spec.length, source)

    def abort(self):
        self.shares = []
