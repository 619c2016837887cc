"""What every aggregator checks about the messages of a round, whichever share it holds.

Used by the plaintext aggregator and by each party, so that both refuse the same things in the same words.
"""

from __future__ import annotations

import logging

from secagg.errors import AggregationError
from secagg.messages import RoundSpec

__all__ = ["BelowMinimum", "MessageRefused", "RoundState"]

logger = logging.getLogger(__name__)


class MessageRefused(AggregationError):
    """One message was not accepted; the round is as it was."""


class BelowMinimum(AggregationError):
    """Too few clients are left; nothing was opened."""


class RoundState:
    """The clients of one open round.

    Args:
        spec: the round.
    """

    def __init__(self, spec: RoundSpec) -> None:
        self.spec = spec
        self._expected = spec.clients if isinstance(spec.clients, range) else frozenset(spec.clients)
        self._received: set[int] = set()

    @property
    def received(self) -> frozenset[int]:
        """Clients whose message was accepted."""
        return frozenset(self._received)

    def admit(self, run: str, round_: int, attempt: int, clients: tuple[int, ...], length: int) -> None:
        """Accept a message's clients, or refuse it and change nothing.

        Raises:
            MessageRefused: for another run, round or attempt, another length, or unknown, repeated or no clients.
        """
        spec = self.spec
        unknown = [client for client in clients if client not in self._expected]
        twice = [client for client in clients if client in self._received]
        if (run, round_, attempt) != (spec.run, spec.round, spec.attempt):
            self._refuse(
                f"a message for round {round_} attempt {attempt} of run {run[:8]}; "
                f"open is round {spec.round} attempt {spec.attempt} of run {spec.run[:8]}"
            )
        if length != spec.length:
            self._refuse(f"a message of length {length}; this round's messages have length {spec.length}")
        if not clients or len(set(clients)) != len(clients):
            self._refuse("a message that names no client or one client twice")
        if unknown:
            self._refuse(f"client {unknown[0]} is not part of round {spec.round}")
        if twice:
            self._refuse(f"client {twice[0]} has already sent its message for round {spec.round}")
        self._received.update(clients)

    def require_minimum(self, clients: frozenset[int]) -> None:
        """Refuse to go on with fewer than `n_min` clients.

        Raises:
            BelowMinimum: with both numbers.
        """
        if len(clients) < self.spec.n_min:
            sentence = (
                f"round {self.spec.round}: {len(clients)} clients are left, below n_min {self.spec.n_min}; "
                "nothing was opened"
            )
            logger.warning(sentence)
            raise BelowMinimum(sentence)

    def _refuse(self, reason: str) -> None:
        logger.warning("refused: %s", reason)
        raise MessageRefused(f"refused: {reason}")
