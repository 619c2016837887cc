"""Exact probabilities of the discrete Gaussian in blocks of neighbours, and the tables to sample it by.

Takes sigma in grid steps; gives cumulated probabilities to as many bits as asked and what a draw looks up first. It
never draws: `secagg.discrete_gaussian` does. With f(x) = exp(-x^2 / (2 sigma^2)) not normalised.

Ours and not independently reviewed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise

import numpy as np
from mpmath import MPContext, mpf
from numpy.typing import NDArray

__all__ = ["UNDECIDED", "GaussianTable", "block_width", "cumulated", "gaussian_table", "ratio"]

# Up to here every |x| has its own entry; above, blocks of x share one.
_LARGEST_LISTED = 16
_BITS = 80
# Entry of `quick` for leading bits that an end of the table's goes through.
UNDECIDED = 255


@dataclass(frozen=True, eq=False)
class GaussianTable:
    """What a draw looks up first.

    Attributes:
        shift: `2^shift` values of |x| share an entry; 0 up to sigma 16.
        starts: uint64 `[n]`, n < 255, 2^64 times the probability of the entries before this one, right within 1.
        quick: uint8 `[65536]`, the entry by a word's leading 16 bits where they decide it, else `UNDECIDED`.
        sure: uint32 `[n + 1]`, a 32-bit word below it accepts every |x| of the block; 0 for blocks beyond the table.
            Empty if shift is 0.
    """

    shift: int
    starts: NDArray[np.uint64]
    quick: NDArray[np.uint8]
    sure: NDArray[np.uint32]


def block_width(sigma: int) -> int:
    """1 up to sigma 16, else the power of two in (sigma / 16, sigma / 8]."""
    return 1 if sigma <= _LARGEST_LISTED else 1 << (sigma.bit_length() - 4)


@lru_cache(maxsize=256)
def gaussian_table(sigma: int) -> GaussianTable:
    """The table for a whole sigma of 1 or more."""
    width = block_width(sigma)
    # Where 2^64 P is 2^64 to within 1, the last entry stands for every larger one too.
    ends = [entry >> (_BITS - 64) for entry in cumulated(sigma, _BITS)]
    starts = [0, *(end for end in ends if end < 2**64 - 1)]
    if len(starts) >= UNDECIDED:
        raise AssertionError(f"a table of {len(starts)} entries for sigma {sigma}")
    quick = np.full(2**16, UNDECIDED, np.uint8)
    for entry, (start, end) in enumerate(pairwise([*starts, 2**64 - 1])):
        # Leading bits all of whose numbers are 1 from both ends, which are right within 1; nothing is below 0.
        first = -(-(start + 1) >> 48) if entry else 0
        quick[first : (end - 1) >> 48] = entry
    sure: list[int] = []
    if width > 1:
        # Rounded down, and 1 less: every number with such a first word is below it.
        sure = [int(2**32 * _block_ratio(entry, sigma)) - 1 for entry in range(len(starts))] + [0]
    return GaussianTable(width.bit_length() - 1, np.array(starts, np.uint64), quick, np.array(sure, np.uint32))


def cumulated(sigma: int, bits: int) -> list[int]:
    """2^bits P(K <= k) for k = 0, 1, ..., each right within 1, until the rest is below 1.

    Up to sigma 16, K is |X|. Above, it is the block of `block_width` values with probability proportional to
    f(k width). The first weight is at least half of the largest, and each is relatively right within 2^-(bits + 32).
    """
    context, width = _context(bits + 32), block_width(sigma)
    weights, k = [], 0
    while True:
        # From where 2^-(bits + 32) is reached, each further weight is less than half of the one before.
        exponent = context.mpf(k * width) ** 2 / (2 * sigma * sigma)
        if exponent > 0.7 * (bits + 40):
            break
        weights.append(int(context.exp(-exponent) * 2 ** (bits + 40)) * (2 if width == 1 and k else 1))
        k += 1
    total = sum(weights)
    return [(so_far << bits) // total for so_far in accumulate(weights)]


def ratio(magnitude: int, sigma: int, bits: int) -> int:
    """2^bits f(magnitude) / f(first value of its block), right within 1."""
    j = magnitude % block_width(sigma)
    context = _context(bits + 16)
    exponent = context.mpf(j * (2 * magnitude - j)) / (2 * sigma * sigma)
    return int(context.exp(-exponent) * 2**bits)


def _block_ratio(block: int, sigma: int) -> mpf:
    """f of the next block's first value over f of this one's."""
    width = block_width(sigma)
    context = _context(_BITS)
    return context.exp(-context.mpf(width * width * (2 * block + 1)) / (2 * sigma * sigma))


def _context(bits: int) -> MPContext:
    """A context of its own: mpmath's shared one has one precision for all threads. Bits of relative precision."""
    context = MPContext()
    context.prec = bits + 32
    return context
