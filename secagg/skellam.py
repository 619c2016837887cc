"""Skellam noise: the difference of two Poisson numbers, drawn exactly and fast for every sigma.

Takes a standard deviation in whole grid steps and a `Keystream`; gives int64 draws. What is drawn depends on the
stream alone, not on the machine's floating point: a decision that float64 cannot prove is made in exact arithmetic.
It must never draw from anything but the `Keystream`. Tested against the exact probabilities.

Ours and not independently reviewed.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from secagg.exact_decisions import below, entries_of
from secagg.randomness import Keystream
from secagg.skellam_table import SkellamTable, block_width, cumulated, masses, skellam_table

__all__ = ["MAX_SIGMA", "MIN_SIGMA", "skellam"]

MIN_SIGMA, MAX_SIGMA = 4, 2**40
_CHUNK = 2**17
# Candidates per draw wanted: the blocks weigh 1 + f(0) width <= 1.1 together, and a negative zero is rejected.
_OVERSAMPLING = 1.11
_WORD = 2.0**64
# |float64 value of 2^64 f(x) / f(block) - exact value| < 2^34 (see `_accept`), twice that for safety.
_MARGIN = 2.0**35


def skellam(sigma: int, size: int, source: Keystream) -> NDArray[np.int64]:
    """`size` exact draws of Poisson(sigma^2 / 2) - Poisson(sigma^2 / 2), P(x) = f(x) = e^{-sigma^2} I_|x|(sigma^2).

    Up to sigma 256: inversion of the distribution of |x|, then a sign. Above: draw a block k of `width` values with
    probability proportional to f(k width), |x| uniformly from the block, a sign; accept with probability
    f(x) / f(k width), and reject a negative zero. That is at most 1 everywhere, in the tails too, because I_n(mu)
    falls with n: no envelope of another shape is needed.

    Exact means: the statistical distance to the Skellam distribution is 0 for a stream of truly random bits, since
    every comparison of a uniform number with a real is decided on 64 bits only where proven error bounds make the
    decision certain; otherwise with as many further random bits and digits as it takes. Nothing is cut off: a word
    beyond the table leads to any larger |x|.

    Args:
        sigma: whole number of grid steps, 4 to 2^40; the variance is sigma^2.
        size: number of draws.
        source: keystream to draw from.

    Raises:
        ValueError: if sigma is not a whole number in range.
    """
    if not isinstance(sigma, int | np.integer) or not MIN_SIGMA <= sigma <= MAX_SIGMA:
        raise ValueError(f"sigma is {sigma}; allowed: whole numbers from {MIN_SIGMA} to 2^40")
    sigma = int(sigma)
    table = skellam_table(sigma)
    out = np.empty(size, dtype=np.int64)
    filled = 0
    while filled < size:
        wanted = min(size - filled, _CHUNK)
        if table.width == 1:
            drawn = _listed(sigma, table, wanted, source)
        else:
            drawn = _candidates(sigma, table, int(wanted * _OVERSAMPLING) + 16, source)[:wanted]
        out[filled : filled + len(drawn)] = drawn
        filled += len(drawn)
    return out


def _listed(sigma: int, table: SkellamTable, count: int, source: Keystream) -> NDArray[np.int64]:
    """`count` draws by inversion."""
    magnitude = entries_of(source.words(count), table.starts, partial(cumulated, sigma), source)
    signs = np.unpackbits(np.frombuffer(source.take(-(-count // 8)), np.uint8), count=count)
    return magnitude * (1 - 2 * signs.astype(np.int64))


def _candidates(sigma: int, table: SkellamTable, count: int, source: Keystream) -> NDArray[np.int64]:
    """The accepted ones among `count` candidates."""
    block = entries_of(source.words(count), table.starts, partial(cumulated, sigma), source)
    words = source.words(count)
    negative = words >> np.uint64(63) == 1
    magnitude = block * table.width + (words & np.uint64(table.width - 1)).astype(np.int64)
    accepted = _accept(source.words(count), block, magnitude, sigma, table, source)
    accepted &= ~(negative & (magnitude == 0))
    drawn = magnitude[accepted]
    return np.where(negative[accepted], -drawn, drawn)


def _accept(
    words: NDArray[np.uint64],
    block: NDArray[np.int64],
    magnitude: NDArray[np.int64],
    sigma: int,
    table: SkellamTable,
    source: Keystream,
) -> NDArray[np.bool_]:
    """True with probability f(x) / f(first value of x's block), one per word.

    With mu = sigma^2 and w = sqrt(x^2 + mu^2), f(x) = e^{w - mu - x asinh(x/mu)} (2 pi w)^(-1/2) (1 + c + R), where
    c = (3 - 5 (x/w)^2) / (24 w) is the first term of Debye's expansion and |R| <= 2 / w^2 for w >= 2^16 and every x:
    put s = 2 sin(t/2), y = x (t - sin t), p = x/w in the integral of `skellam_table.masses`; then

        1 + c + R = sqrt(w / 2 pi) * integral over |s| <= 2 of e^{-w s^2 / 2} cos(y) (1 - s^2/4)^(-1/2) ds.

    For |s| <= 1, by series of positive terms, (1 - s^2/4)^(-1/2) is 1 + s^2/8 + [0, .03 s^4], |y| is
    p w (|s|^3/6 + [0, |s|^5/64]), and cos(y) is 1 - y^2/2 + [0, y^4/24]. The moments of s (variance 1/w) give 1 + c
    from 1 + s^2/8 - p^2 w^2 s^6/72, and what is left is at most (.09 + .46 p^2 + .48 p^4) / w^2 and terms of w^-3 that
    are below a tenth of it; |s| > 1 gives less than w^8 e^{-w/2}.

    Hence |R| < 2^-31. Exponents in the table, of terms below 128, are off by at most 2^-38 in float64 if asinh, exp
    and log are right within 16 units in the last place.
    """
    # Words surely below the probability need no more than a look-up; a block beyond the table has no look-up.
    beyond = block >= len(table.sure)
    inside = np.minimum(block, len(table.sure) - 1)
    accepted: NDArray[np.bool_] = (words < table.sure[inside]) & ~beyond
    open_ = np.flatnonzero(~accepted)
    mu = float(sigma) ** 2
    x = magnitude[open_].astype(np.float64)
    w = np.hypot(x, mu)
    log = x * x / (w + mu) - x * np.arcsinh(x / mu) - table.logs[inside[open_]]
    debye = (1 + (3 - 5 * (x / w) ** 2) / (24 * w)) / np.sqrt(2 * np.pi * w)
    probability = np.exp(log) * debye * _WORD
    uniform = words[open_].astype(np.float64)
    accepted[open_] = uniform < probability
    for index in open_[(np.abs(uniform - probability) <= _MARGIN) | beyond[open_]]:
        accepted[index] = _exact_accept(int(words[index]), int(magnitude[index]), sigma, source)
    return accepted


def _exact_accept(word: int, magnitude: int, sigma: int, source: Keystream) -> bool:
    """Whether a uniform number with these first 64 bits is below f(x) / f(first value of x's block)."""
    first = magnitude - magnitude % block_width(sigma)
    if magnitude == first:
        return True  # probability 1: no number in [0, 1) is above

    def threshold(bits: int) -> int:
        here, start = masses([magnitude, first], sigma, bits)
        # Right within 2.
        return int(here / start * 2**bits)

    return below(word, 64, threshold, source)
