"""The project's error classes.

A `SottoError` is a user's or an operator's problem told in one sentence: what is wrong, where, and what is
allowed. The command line prints it and exits with 2. A programming mistake is never wrapped in one.
"""

__all__ = ["AggregationError", "EncodingError", "PartyFailure", "SottoError"]


class SottoError(Exception):
    """Base of every error whose message is one sentence for a user or operator."""


class AggregationError(SottoError):
    """A round's sum cannot be opened, or a message was refused; nothing was opened."""


class EncodingError(SottoError):
    """A number does not fit the fixed-point grid or the ring."""


class PartyFailure(AggregationError):
    """A party died, stayed silent, cannot be reached or answered nonsense; the round is lost and may be tried again."""
