"""Exact probabilities of the Skellam distribution, to as many bits as asked, and the tables to sample it by.

Takes sigma in grid steps, mu = sigma^2; gives f(x) = e^{-mu} I_|x|(mu) and cumulated probabilities with proven error
bounds. Whatever a table cannot decide is asked for again with more bits. It never draws: `secagg.skellam` does.

Notation: w = sqrt(x^2 + mu^2), a = asinh(x / mu), E(x) = w - mu - x a <= 0. Chernoff: f(x) <= P(X >= x) <= e^{E(x)}.

Ours and not independently reviewed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise

import numpy as np
from mpmath import MPContext, mpf
from numpy.typing import NDArray

__all__ = ["SkellamTable", "block_width", "cumulated", "masses", "skellam_table"]

# Up to here every |x| has its own entry; above, blocks of x share one.
_LARGEST_LISTED = 256
_BITS = 80


@dataclass(frozen=True, eq=False)
class SkellamTable:
    """What a draw looks up first.

    Attributes:
        width: how many values of |x| share an entry, a power of two; 1 up to sigma 256.
        starts: uint64 `[n]`, 2^64 times the probability of the entries before this one, each right within 1.
        sure: uint64 `[n]`, a word below it accepts every |x| of the block; empty if width is 1.
        logs: float64 `[n]`, log f of the block's first value; empty if width is 1.
    """

    width: int
    starts: NDArray[np.uint64]
    sure: NDArray[np.uint64]
    logs: NDArray[np.float64]


def block_width(sigma: int) -> int:
    """1 up to sigma 256, else the power of two in (sigma / 8, sigma / 4]."""
    return 1 if sigma <= _LARGEST_LISTED else 1 << (sigma.bit_length() - 3)


@lru_cache(maxsize=256)
def skellam_table(sigma: int) -> SkellamTable:
    """The table for a whole sigma of 4 or more."""
    width = block_width(sigma)
    # Where 2^64 P is 2^64 to within 1, the last entry stands for every larger |x| too.
    ends = [entry >> (_BITS - 64) for entry in cumulated(sigma, _BITS)]
    starts = [0, *(end for end in ends if end < 2**64 - 1)]
    sure: list[int] = []
    logs: list[float] = []
    if width > 1:
        first = masses([k * width for k in range(len(starts) + 1)], sigma, _BITS)
        # Two below the quotient, which is right within 2^-15: every number with such a first word is below it.
        sure = [int(2**64 * (after / here)) - 2 for here, after in pairwise(first)]
        logs = [math.log(float(mass)) for mass in first[:-1]]
    return SkellamTable(width, np.array(starts, np.uint64), np.array(sure, np.uint64), np.array(logs, np.float64))


def cumulated(sigma: int, bits: int) -> list[int]:
    """2^bits P(K <= k) for k = 0, 1, ..., each right within 1, until the rest is below 1.

    Up to sigma 256, K is |X|. Above, it is the block of `block_width` values with probability proportional to
    f(k width), whose sum over k >= 0 is at least 1 / (2 width), since f falls with |x|.
    """
    working, width = bits + 32, block_width(sigma)
    weights: Sequence[int]
    if width == 1:
        weights = _listed(sigma, working)
    else:
        # Blocks from k on weigh in at most P(X >= (k - 1) width) / width, twice that of the whole: see above.
        reach = _reach(sigma, working) // width + 2
        weights = [int(mass * width * 2**working) for mass in masses([k * width for k in range(reach)], sigma, working)]
    # The sum of weights that are right within 2^-working times their number, a fraction of 2^-bits.
    total = sum(weights)
    return [(so_far << bits) // total for so_far in accumulate(weights)]


def masses(values: Sequence[int], sigma: int, bits: int) -> list[mpf]:
    """f(x) for each x >= 0 in `values`, with relative errors below 2^-bits; sigma above 256.

    On the contour through the saddle point (t + i a for t real) Bessel's integral is

        f(x) = e^{E(x)} / (2 pi) * integral over [-pi, pi] of e^{-w (1 - cos t)} cos(x (t - sin t)) dt.

    The mean over N equidistant t instead of the integral adds e^{-mNa} f(x - mN) e^{-E(x)} for each m != 0. By the
    Chernoff bound at a - sign(m) d these are below exp(w (e^d - 1 - d) - |m| N d), and with N^2 >= 4 w B and
    d = N / (2w) <= 1 (w the largest of all) below e^{-|m| B}. Terms with w (1 - cos t) > B, left out, are below e^{-B}
    together. What remains, about 1 / sqrt(2 pi w), is above 2^-(1.4 + log2 sqrt(w)); B leaves 10 bits more than that.
    """
    mu = sigma * sigma
    # A context of its own: mpmath's shared one has one precision for all threads.
    context = MPContext()
    # Cancellation: w - mu loses 2 log2(mu / x) bits, t - sin(t) loses log2(w) of them.
    context.prec = bits + 3 * mu.bit_length() + 64
    top = context.sqrt(max(values) ** 2 + mu * mu)
    bound = math.log(2) * (bits + int(top).bit_length() // 2 + 16)
    nodes = int(context.ceil(2 * context.sqrt(top * bound)))
    angles: list[tuple[mpf, mpf]] = []
    t = versed = context.mpf(0)
    while versed * mu <= bound:
        angles.append((versed, t - context.sin(t)))
        t = 2 * context.pi * len(angles) / nodes
        versed = 2 * context.sin(t / 2) ** 2
    result = []
    for x in values:
        w = context.sqrt(x * x + mu * mu)
        terms = [context.exp(-w * versed) * context.cos(x * lag) for versed, lag in angles]
        mean = (2 * context.fsum(terms) - 1) / nodes
        result.append(context.exp(w - mu - x * context.asinh(context.mpf(x) / mu)) * mean)
    return result


def _exponent(x: float, mu: float) -> float:
    """E(x) in float64."""
    return x * x / (math.hypot(x, mu) + mu) - x * math.asinh(x / mu)


def _reach(sigma: int, bits: int) -> int:
    """Some x with P(X >= x) < 2^-bits / 16."""
    x = sigma
    while _exponent(x, sigma * sigma) > -(bits + 4) * math.log(2):
        x += sigma
    return x


def _listed(sigma: int, bits: int) -> list[int]:
    """P(|X| = k) times a common factor for k = 0, 1, ..., with errors below 2^-bits of the whole (sigma up to 256).

    Miller's recurrence downwards, y[n-1] = y[n+1] + (2n / mu) y[n], from y[r+1] = 0. It gives a multiple of
    I_n -+ I_{r+1} K_n / K_{r+1}, and K_n grows with n: f is off by at most f(r+1). Rounding down by less than 1 at n
    grows no faster than y itself does from there, so with y[r] = 2^(2 bits) it is relatively below r 2^(-2 bits).
    """
    mu = sigma * sigma
    reach = _reach(sigma, bits + 8)
    after, here = 0, 1 << (2 * bits)
    listed = [2 * here]
    for n in range(reach, 0, -1):
        after, here = here, after + 2 * n * here // mu
        listed.append(2 * here)
    listed[-1] //= 2
    return listed[::-1]
