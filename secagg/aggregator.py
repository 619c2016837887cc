"""The aggregator protocol, and its plaintext form: one party that sees every message.

Under plaintext aggregation the sums are the same bits as under SMPC, but the privacy is not: against the party only
each client's own noise counts (the local view). It must never be presented as secure aggregation.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray

from kernels.ring_encode import ring_decode
from secagg.envelopes import SealedMessage, upload_bytes
from secagg.errors import AggregationError
from secagg.messages import ClientMessage, RoundSpec, RoundSum
from secagg.noise_removal import surplus_components, surplus_noise
from secagg.openings import Openings
from secagg.ring import add_wrap
from secagg.round_state import MessageRefused, RoundState, check_message, require_minimum

__all__ = ["Aggregator", "BeforeOpening", "PlaintextAggregator"]

BeforeOpening = Callable[[frozenset[int]], None]


class Aggregator(Protocol):
    """Opens one sum a round: `open_round`, `submit` for each client, `close`."""

    parties: int
    name: str
    refused: int  # clients of the last closed round whose message was taken by `submit` and then refused

    def upload_bytes(self, spec: RoundSpec) -> int:
        """Bytes that one client sends in a round."""

    def open_round(self, spec: RoundSpec) -> None:
        """Start collecting messages; an unfinished round is discarded.

        Raises:
            AggregationError: if this run, round and attempt was opened before.
        """

    @property
    def key_folder(self) -> Path | None:
        """Where other processes of a simulation find what they need to seal a cohort's messages; None: unsealed."""

    def submit(self, message: ClientMessage | SealedMessage) -> None:
        """Take one client's message.

        Raises:
            MessageRefused: if it does not belong to the open round; nothing changed.
        """

    def close(self, before_opening: BeforeOpening | None = None) -> RoundSum:
        """Agree on the clients, call `before_opening` with them, open the sum.

        Raises:
            BelowMinimum: if fewer than n_min clients are left; nothing was opened.
            OpeningRefused: if the sum would differ by few clients from one that was opened; nothing was opened.
            AggregationError: if a party failed; nothing was opened to the caller.
        """

    def abort(self) -> None:
        """Discard the round's shares; legal at any time."""

    def shutdown(self) -> None:
        """Release everything; legal at any time and more than once."""

    def __enter__(self) -> Self:
        """Itself."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Shut down."""


class PlaintextAggregator:
    """One party that receives whole vectors and adds them.

    Args:
        min_difference: two openings of one model are over equal sets of clients or over sets that differ by so many;
            None: the round's n_min.
    """

    parties = 1
    name = "plaintext"
    refused = 0
    key_folder = None

    def __init__(self, min_difference: int | None = None) -> None:
        self._min_difference = min_difference
        self._openings = Openings()
        self._state: RoundState | None = None
        self._total: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._noise_seeds: dict[int, tuple[bytes, ...]] = {}

    def upload_bytes(self, spec: RoundSpec) -> int:
        """Bytes that one client sends in a round."""
        return upload_bytes(spec, None)

    def open_round(self, spec: RoundSpec) -> None:
        """Start collecting messages; see `Aggregator.open_round`.

        Raises:
            AggregationError: also for noise of aggregators or a norm check, which need parties.
        """
        if spec.noise.aggregator_std or spec.norm_bound:
            raise AggregationError("plaintext aggregation has no parties that could add noise or check norms; use smpc")
        self._openings.refuse_again(spec)
        self.abort()
        self._state = RoundState(spec)
        self._total = np.zeros(spec.length, dtype=np.int64)

    def submit(self, message: ClientMessage | SealedMessage) -> None:
        """Add one client's vector; see `Aggregator.submit`."""
        state = self._open_state()
        if isinstance(message, SealedMessage):
            raise MessageRefused("a sealed message; plaintext aggregation has no party that could open it")
        check_message(message, state.spec, self.parties)
        if len(message.clients) > 1 and message.noise_seeds:
            raise MessageRefused("a joint message in a round that looks at each client by itself")
        state.admit(message.clients)
        add_wrap(self._total, message.shares.body)
        if message.noise_seeds:
            self._noise_seeds[message.clients[0]] = message.noise_seeds

    def close(self, before_opening: BeforeOpening | None = None) -> RoundSum:
        """Return the sum; see `Aggregator.close`."""
        state = self._open_state()
        try:
            spec, clients, total = state.spec, state.received, self._total
            require_minimum(spec, clients)
            self._openings.refuse_close_sets(spec, clients, self._min_difference)
            if before_opening is not None:
                before_opening(clients)
            self._openings.remember(spec, clients)
            surplus = surplus_components(spec, len(clients))
            if surplus:
                seeds = {client: [own[index] for index in surplus] for client, own in self._noise_seeds.items()}
                add_wrap(total, -surplus_noise(spec, len(clients), seeds, lambda: None))
            return RoundSum(ring_decode(torch.from_numpy(total), spec.bits).numpy(), clients)
        finally:
            self.abort()

    def abort(self) -> None:
        """Discard the round."""
        self._state = None
        self._total = np.zeros(0, dtype=np.int64)
        self._noise_seeds = {}

    def shutdown(self) -> None:
        """Nothing is held."""
        self.abort()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()

    def _open_state(self) -> RoundState:
        if self._state is None:
            raise AggregationError("no round is open")
        return self._state
