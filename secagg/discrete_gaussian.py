"""The discrete Gaussian, drawn exactly and fast for every whole sigma.

Takes a standard deviation in whole grid steps and a `Keystream`; gives int64 draws. What is drawn depends on the
stream alone, not on the machine's floating point: a decision that float64 cannot prove is made in exact arithmetic.
It must never draw from anything but the `Keystream`. Ours and not independently reviewed; tested against the exact
probabilities and OpenDP's sampler.
"""

from __future__ import annotations

from functools import partial
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from secagg.exact_decisions import below, entries_of
from secagg.gaussian_table import UNDECIDED, GaussianTable, block_width, cumulated, gaussian_table, ratio
from secagg.randomness import Keystream

__all__ = ["MAX_SIGMA", "discrete_gaussian"]

MAX_SIGMA = 2**40
# A chunk's arrays stay in the processor's cache.
_CHUNK = 2**15
# |float64 value of 2^32 f(x) / f(block) - exact value| < 2^-13 (see `_accept`).
_MARGIN = 2.0**-10


def discrete_gaussian(sigma: int, size: int, source: Keystream) -> NDArray[np.int64]:
    """`size` exact draws of the discrete Gaussian N_Z(0, sigma^2), P(x) proportional to f(x) = exp(-x^2 / (2 sigma^2)).

    Up to sigma 16: inversion of the distribution of |x|, then a sign. Above: draw a block k of `width` values with
    probability proportional to f(k width), |x| uniformly from the block, a sign; accept with probability
    f(x) / f(k width), at most 1 since f falls with |x|, and reject a negative zero. Blocks are so narrow that 94 % or
    more are accepted, most of them on a look-up (rejection from a step function, as in Karney's 2016 sampler
    but with steps of sigma / 16 to sigma / 8 in place of sigma).

    Exact means: the statistical distance to the discrete Gaussian is 0 for a stream of truly random bits. Every
    comparison of a uniform number with a real is decided on 16, 32 or 64 bits only where error bounds make the
    decision certain; otherwise with as many further random bits and digits as it takes. Nothing is cut off.

    Args:
        sigma: whole number of grid steps, 1 to 2^40.
        size: number of draws.
        source: keystream to draw from.

    Raises:
        ValueError: if sigma is not a whole number in range.
    """
    if not isinstance(sigma, int | np.integer) or not 1 <= sigma <= MAX_SIGMA:
        raise ValueError(f"sigma is {sigma}; allowed: whole numbers from 1 to 2^40")
    sigma = int(sigma)
    table = gaussian_table(sigma)
    draw = _candidates if table.shift else _listed
    out = np.empty(size, dtype=np.int64)
    filled = 0
    while filled < size:
        wanted = min(size - filled, _CHUNK)
        drawn = draw(sigma, table, wanted, source)[:wanted]
        out[filled : filled + len(drawn)] = drawn
        filled += len(drawn)
    return out


def _listed(sigma: int, table: GaussianTable, count: int, source: Keystream) -> NDArray[np.int64]:
    """`count` draws by inversion."""
    magnitude = _draw_entry(np.frombuffer(source.take(2 * count), "<u2"), sigma, table, source)
    signs = np.unpackbits(np.frombuffer(source.take(-(-count // 8)), np.uint8), count=count)
    return magnitude * (1 - 2 * signs.astype(np.int64))


def _candidates(sigma: int, table: GaussianTable, wanted: int, source: Keystream) -> NDArray[np.int64]:
    """The accepted ones among so many candidates that they are nearly always enough."""
    count = wanted + wanted // 15 + isqrt(wanted) + 16
    block = _draw_entry(np.frombuffer(source.take(2 * count), "<u2"), sigma, table, source)
    # The place in the block from the lowest bits, the sign from the highest one.
    width = 4 if table.shift < 32 else 8
    words = np.frombuffer(source.take(width * count), f"<u{width}")
    drawn = block << table.shift
    drawn |= (words & words.dtype.type((1 << table.shift) - 1)).astype(np.int64)
    accepted = _accept(np.frombuffer(source.take(4 * count), "<u4"), block, drawn, sigma, table, source)
    negative = (words >> words.dtype.type(8 * width - 1)).astype(np.int64)
    zero = np.flatnonzero(drawn == 0)
    accepted[zero[negative[zero] == 1]] = False
    # -x is ~x + 1.
    drawn ^= -negative
    drawn += negative
    return drawn[accepted]


def _draw_entry(prefixes: NDArray[np.uint16], sigma: int, table: GaussianTable, source: Keystream) -> NDArray[np.int64]:
    """The table's entry that each uniform number lies in, of which the prefixes are the first 16 bits."""
    entries = table.quick[prefixes]
    undecided = np.flatnonzero(entries == UNDECIDED)
    found = entries.astype(np.int64)
    if len(undecided):
        words = prefixes[undecided].astype(np.uint64) << np.uint64(48) | source.words(len(undecided)) >> np.uint64(16)
        found[undecided] = entries_of(words, table.starts, partial(cumulated, sigma), source)
    return found


def _accept(
    words: NDArray[np.uint32],
    block: NDArray[np.int64],
    magnitude: NDArray[np.int64],
    sigma: int,
    table: GaussianTable,
    source: Keystream,
) -> NDArray[np.bool_]:
    """True with probability f(x) / f(first value of x's block), one per 32-bit word.

    With j the place of x in its block the ratio is exp(-g), g = j (2x - j) / (2 sigma^2). In float64 j / sigma and
    (2x - j) / sigma are off by at most 2^-52 relative, g (below 2^4 for every block that a 64-bit word leads to) by
    2^-47 absolute, and exp(-g) by 2^-46 relative if exp is right within 16 units in the last place, hence 2^32 times
    it by less than 2^-13. Larger g only come out of ties, where exp(-g) falls faster than the error of g grows.
    """
    # Words surely below the probability need no more than a look-up.
    accepted: NDArray[np.bool_] = words < table.sure.take(block, mode="clip")
    open_ = np.flatnonzero(~accepted)
    x = magnitude[open_]
    j = x & ((1 << table.shift) - 1)
    probability = np.exp((j / sigma) * ((2 * x - j) / sigma) * -0.5) * 2.0**32
    # The number lies between its word and the next one.
    low = words[open_].astype(np.float64)
    accepted[open_] = low + 1 <= probability
    for index in open_[(low + 1 > probability - _MARGIN) & (low < probability + _MARGIN)]:
        accepted[index] = _exact_accept(int(words[index]), int(magnitude[index]), sigma, source)
    return accepted


def _exact_accept(word: int, magnitude: int, sigma: int, source: Keystream) -> bool:
    """Whether a uniform number with these first 32 bits is below f(x) / f(first value of x's block)."""
    if magnitude % block_width(sigma) == 0:
        return True  # probability 1: no number in [0, 1) is above
    return below(word, 32, partial(ratio, magnitude, sigma), source)
