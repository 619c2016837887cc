"""The aggregator protocol, and its plaintext form: one party that sees every message.

Under plaintext aggregation the sums are the same bits as under SMPC, but the privacy is not: against the party only
each client's own noise counts (the local view). It must never be presented as secure aggregation.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from secagg.errors import AggregationError
from secagg.messages import ClientMessage, RoundSpec, RoundSum
from secagg.ring import add_wrap
from secagg.round_state import MessageRefused, OpenedRounds, RoundState

__all__ = ["Aggregator", "BeforeOpening", "PlaintextAggregator"]

BeforeOpening = Callable[[frozenset[int]], None]


class Aggregator(Protocol):
    """Opens one sum a round: `open_round`, `submit` for each client, `close`."""

    parties: int
    name: str

    def open_round(self, spec: RoundSpec) -> None:
        """Start collecting messages; an unfinished round is discarded.

        Raises:
            AggregationError: if this run, round and attempt was opened before.
        """

    def submit(self, message: ClientMessage) -> None:
        """Take one client's message.

        Raises:
            MessageRefused: if it does not belong to the open round; nothing changed.
        """

    def close(self, before_opening: BeforeOpening | None = None) -> RoundSum:
        """Agree on the clients, call `before_opening` with them, open the sum.

        Raises:
            BelowMinimum: if fewer than n_min clients are left; nothing was opened.
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
    """One party that receives whole vectors and adds them."""

    parties = 1
    name = "plaintext"

    def __init__(self) -> None:
        self._state: RoundState | None = None
        self._opened = OpenedRounds()
        self._total: NDArray[np.int64] = np.zeros(0, dtype=np.int64)

    def open_round(self, spec: RoundSpec) -> None:
        """Start collecting messages; see `Aggregator.open_round`."""
        self._opened.refuse_again(spec)
        self._state = RoundState(spec)
        self._total = np.zeros(spec.length, dtype=np.int64)

    def submit(self, message: ClientMessage) -> None:
        """Add one client's vector; see `Aggregator.submit`."""
        state = self._open_state()
        if message.shares.seeds:
            raise MessageRefused("refused: a message with seeds; plaintext aggregation takes whole vectors")
        body = message.shares.body
        state.admit(message.run, message.round, message.attempt, message.clients, len(body))
        add_wrap(self._total, body)

    def close(self, before_opening: BeforeOpening | None = None) -> RoundSum:
        """Return the sum; see `Aggregator.close`."""
        state = self._open_state()
        try:
            clients = state.received
            state.require_minimum(clients)
            if before_opening is not None:
                before_opening(clients)
            self._opened.remember(state.spec)
            return RoundSum(self._total, clients)
        finally:
            self.abort()

    def abort(self) -> None:
        """Discard the round."""
        self._state = None
        self._total = np.zeros(0, dtype=np.int64)

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
