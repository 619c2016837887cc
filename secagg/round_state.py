"""What every aggregator checks about the messages of a round, whichever share it holds.

Used by clients, the plaintext aggregator and each party, so that all refuse the same things in the same words.
"""

from __future__ import annotations

import logging
from collections.abc import Collection

from secagg.errors import AggregationError
from secagg.messages import ClientMessage, RoundSpec

__all__ = ["BelowMinimum", "MessageRefused", "RoundState", "check_message", "require_minimum"]

logger = logging.getLogger(__name__)


class MessageRefused(AggregationError):
    """One message was not accepted; the round is as it was.

    Args:
        reason: what it is and what would have been right, without "refused: ", which the sentence begins with.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"refused: {reason}")

    @property
    def reason(self) -> str:
        """The sentence without its beginning."""
        return str(self).removeprefix("refused: ")


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

    def admit(self, clients: tuple[int, ...]) -> None:
        """Accept a message's clients, or refuse it and change nothing.

        Raises:
            MessageRefused: for unknown, repeated or no clients.
        """
        number = self.spec.round
        unknown = [client for client in clients if client not in self._expected]
        twice = [client for client in clients if client in self._received]
        if not clients or len(set(clients)) != len(clients):
            _refuse("a message that names no client or one client twice")
        if unknown:
            _refuse(f"client {unknown[0]} is not part of round {number}")
        if twice:
            _refuse(f"client {twice[0]} has already sent its message for round {number}")
        self._received.update(clients)


def check_message(message: ClientMessage, spec: RoundSpec, parties: int) -> None:
    """Refuse a message that does not fit the round; its clients are `RoundState.admit`'s business.

    Raises:
        MessageRefused: for another run, round, attempt, ring or length, or other numbers of shares or noise seeds.
    """
    shares = message.shares
    if (message.run, message.round, message.attempt) != (spec.run, spec.round, spec.attempt):
        _refuse(
            f"a message for round {message.round} attempt {message.attempt} of run {message.run[:8]}; "
            f"open is round {spec.round} attempt {spec.attempt} of run {spec.run[:8]}"
        )
    if len(shares.seeds) != parties - 1:
        _refuse(f"a message with {len(shares.seeds)} seeds; {parties} parties need {parties - 1}")
    if shares.bits != spec.bits:
        _refuse(f"a message shared in a ring of 2^{shares.bits}; this round's is 2^{spec.bits}")
    if len(shares.body) != spec.length:
        _refuse(f"a message of length {len(shares.body)}; this round's messages have length {spec.length}")
    if len(message.noise_seeds) != spec.noise.removable:
        _refuse(f"a message with {len(message.noise_seeds)} noise seeds; this round's have {spec.noise.removable}")


def require_minimum(spec: RoundSpec, clients: Collection[int]) -> None:
    """Refuse to go on with fewer than `n_min` clients.

    Raises:
        BelowMinimum: with both numbers.
    """
    if len(clients) < spec.n_min:
        sentence = f"round {spec.round}: {len(clients)} clients are left, below n_min {spec.n_min}; nothing was opened"
        logger.warning(sentence)
        raise BelowMinimum(sentence)


def _refuse(reason: str) -> None:
    logger.warning("refused: %s", reason)
    raise MessageRefused(reason)
