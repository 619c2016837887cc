"""The project's error classes.

A `SottoError` is a user's or an operator's problem told in one sentence: what is wrong, where, and what is
allowed. The command line prints it and exits with 2. A programming mistake is never wrapped in one.
"""

__all__ = ["AggregationError", "EncodingError", "PartyFailure", "SottoError"]


_LONGEST = 800
_END = 300  # of those, kept at the end, where a sentence says what is allowed


class SottoError(Exception):
    """Base of every error whose message is one sentence for a user or operator.

    Whatever it quotes, the sentence is one line of at most 800 characters that any terminal can show: others are
    escaped, and a long one loses its middle.
    """

    def __init__(self, sentence: object = "") -> None:
        text = str(sentence)
        if not text.isprintable():
            text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
        if len(text) > _LONGEST:
            text = f"{text[: _LONGEST - _END - 3]}...{text[-_END:]}"
        super().__init__(text)


class AggregationError(SottoError):
    """A round's sum cannot be opened, or a message was refused; nothing was opened."""


class EncodingError(SottoError):
    """A number does not fit the fixed-point grid or the ring."""


class PartyFailure(AggregationError):
    """A party died, stayed silent, cannot be reached or answered nonsense; the round is lost and may be tried again."""
