"""Comparisons of a uniform random number with exact reals, of which neither is ever known to all its digits.

Takes the number's first bits and a function that gives the reals to as many bits as asked; draws further bits until the
comparison is certain. Samplers come here for the few decisions that a word or float64 leaves open, so that what they
draw has exactly the distribution that they claim.

Ours and not independently reviewed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from secagg.randomness import Keystream

__all__ = ["below", "entries_of", "entry_of"]

# Cumulated probabilities 2^bits P(K <= k) for k = 0, 1, ..., each right within 1, until the rest is below 1.
Cumulated = Callable[[int], list[int]]


def entries_of(
    words: NDArray[np.uint64], starts: NDArray[np.uint64], cumulated: Cumulated, source: Keystream
) -> NDArray[np.int64]:
    """The table's entry that each of some uniform numbers lies in, of which `words` are the first 64 bits.

    Args:
        words: uint64 `[n]`.
        starts: uint64, 2^64 times the probability of all entries before each one, right within 1.
        cumulated: as above, of the same table.
        source: where further bits come from.
    """
    found = np.searchsorted(starts, words, side="right") - 1
    # Starts are right within 1 and the number within 1 of its word: nearer ones say nothing yet.
    ends = np.append(starts[1:], np.uint64(2**64 - 1))
    near = (words - starts[found] <= 2) | (ends[found] - words <= 2)
    for index in np.flatnonzero(near):
        found[index] = entry_of(int(words[index]), 64, cumulated, source)
    return found.astype(np.int64, copy=False)


def entry_of(value: int, bits: int, cumulated: Cumulated, source: Keystream) -> int:
    """The entry that a uniform number lies in whose first `bits` bits are `value`, with as many more as it takes."""
    while True:
        low, high = value << 64, (value + 1) << 64
        previous = None
        for entry, end in enumerate(cumulated(bits + 64)):
            if high <= end - 1:
                if previous is None or low >= previous + 1:
                    return entry
                break
            previous = end
        bits, value = bits + 64, value << 64 | int(source.words(1)[0])


def below(value: int, bits: int, threshold: Callable[[int], int], source: Keystream) -> bool:
    """Whether a uniform number in [0, 1) whose first `bits` bits are `value` is below a real number.

    Args:
        value, bits: the number's beginning.
        threshold: 2^n times the real number for any n, right within 3; the real is no multiple of 2^-n.
        source: where further bits come from.
    """
    while True:
        there = threshold(bits + 32)
        if (value + 1) << 32 <= there - 4:
            return True
        if value << 32 >= there + 4:
            return False
        bits, value = bits + 64, value << 64 | int(source.words(1)[0])
