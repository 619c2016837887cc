"""Three aggregators in one process that follow the protocol with the round's own noise, and keep nothing secret.

For tests and audits that must know what each party added, or have one add too little. Never for a run.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from kernels.ring_encode import ring_decode
from secagg import RoundSum
from secagg.aggregator import BeforeOpening
from secagg.envelopes import SealedMessage, upload_bytes
from secagg.messages import ClientMessage, RoundSpec
from secagg.noise_draws import draw_noise
from secagg.noise_removal import surplus_components, surplus_noise
from secagg.randomness import Keystream
from secagg.ring import add_wrap
from secagg.round_state import MessageRefused
from secagg.sharing import expand

__all__ = ["ThreeParties"]


class ThreeParties:
    """An `Aggregator`.

    Args:
        seed: of the parties' noise, which also depends on the round and on how many clients are in it.
    """

    parties = 3
    name = "three parties"
    refused = 0
    key_folder = None

    def __init__(self, seed: int = 0) -> None:
        self._streams = Keystream.seeded(seed).child("three parties")
        self._shares: list[NDArray[np.int64]] = []
        self._clients: list[int] = []
        self._seeds: dict[int, tuple[bytes, ...]] = {}

    def upload_bytes(self, spec: RoundSpec) -> int:
        """As without envelopes."""
        return upload_bytes(spec, None)

    def open_round(self, spec: RoundSpec) -> None:
        """Start collecting."""
        self.abort()
        self.spec = spec
        self._shares = [np.zeros(spec.length, dtype=np.int64) for _ in range(self.parties)]

    def submit(self, message: ClientMessage | SealedMessage) -> None:
        """Add a message's shares to the parties'."""
        if isinstance(message, SealedMessage):
            raise MessageRefused("a sealed message; these parties have no keys")
        expanded = (expand(seed, self.spec.length, self.spec.bits) for seed in message.shares.seeds)
        for share, part in zip(self._shares, (message.shares.body, *expanded), strict=True):
            add_wrap(share, part)
        self._clients += message.clients
        self._seeds[message.clients[0]] = message.noise_seeds

    def close(self, before_opening: BeforeOpening | None = None) -> RoundSum:
        """Take surplus noise away, add the parties' own, open the sum."""
        if before_opening is not None:
            before_opening(frozenset(self._clients))
        count = len(self._clients)
        surplus = surplus_components(self.spec, count)
        if surplus:
            seeds = {client: [own[k] for k in surplus] for client, own in self._seeds.items()}
            add_wrap(self._shares[0], -surplus_noise(self.spec, count, seeds, lambda: None))
        total = np.zeros(self.spec.length, dtype=np.int64)
        for party, share in enumerate(self._shares):
            add_wrap(share, self.noise_of(party))
            add_wrap(total, share)
        return RoundSum(ring_decode(torch.from_numpy(total), self.spec.bits).numpy(), frozenset(self._clients))

    def noise_of(self, party: int) -> NDArray[np.int64]:
        """What one party adds to its share `[length]`; known after the last message."""
        noise = self.spec.noise
        source = self._streams.child(party, self.spec.round, len(self._clients))
        return draw_noise(noise.mechanism, noise.aggregator_std, self.spec.length, source)

    def abort(self) -> None:
        """Forget the round's shares."""
        self._shares, self._clients, self._seeds = [], [], {}

    def shutdown(self) -> None:
        """Nothing is held."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()
