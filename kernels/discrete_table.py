"""Exact tables of the discrete Gaussian, for sampling by search in constant time.

Takes a standard deviation in grid steps; gives cumulative probabilities to 126 bits, computed in integers. A deviation
too large for one table is a sum of independent draws from small tables, whose distance from the discrete Gaussian is
bounded by Poisson summation. It never draws: `kernels.ring_encode` does.

Ours and not independently reviewed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import torch
from torch import Tensor

__all__ = ["MAX_SIGMA", "MIN_SIGMA", "DiscreteGaussianTable", "discrete_gaussian_table"]

MIN_SIGMA, MAX_SIGMA = 0.5, 2.0**32
WORD_BITS = 63  # bits of a threshold's halves: they fit int64 and compare as signed numbers

_FRACTION = 320  # bits after the point in the integer arithmetic below
_TAIL = 13  # standard deviations kept: what is cut off weighs less than 2^-121
_LARGEST = 256  # standard deviation of the largest table, in steps
_SMALLEST = 4  # of a summand


@dataclass(frozen=True, eq=False)
class DiscreteGaussianTable:
    """Tables for `X = sum over levels of stride_l X_l`, each X_l a discrete Gaussian from a table.

    Attributes:
        sigma: standard deviation parameter of X, in steps.
        high: int64 `[levels, n]`, leading 63 bits of the thresholds `2^126 P(X_l <= k)`, k from `-reach_l` on; padded
            with the largest number to a power of two.
        low: int64 `[levels, n]`, their other 63 bits.
        reaches: largest |k| of each level.
        strides: what each level's draw is multiplied with.
        error: bound on the statistical distance of one draw of X from the discrete Gaussian.
    """

    sigma: float
    high: Tensor
    low: Tensor
    reaches: tuple[int, ...]
    strides: tuple[int, ...]
    error: float


@lru_cache(maxsize=8)
def discrete_gaussian_table(sigma: float) -> DiscreteGaussianTable:
    """Tables for the discrete Gaussian `P(k) proportional to exp(-k^2 / (2 sigma^2))`.

    Splitting: for independent discrete Gaussians with deviations s0 and s1, X0 + c X1 has pointwise the probabilities
    of the one with `sigma^2 = s0^2 + c^2 s1^2` up to a factor within `1 +- 2 exp(-2 pi^2 tau^2) (1 + 2^-60)`,
    `tau = s0 s1 / sigma` (Poisson summation over X1's lattice; Micciancio and Walter 2017 use the same idea).

    Args:
        sigma: 0.5 to 2^32 steps; taken as the exact rational number that the float is.

    Raises:
        ValueError: for a sigma out of range.
    """
    if not MIN_SIGMA <= sigma <= MAX_SIGMA:
        raise ValueError(f"sigma is {sigma} grid steps; allowed: {MIN_SIGMA} to 2^32")
    levels, error = _levels(Fraction(sigma) ** 2)
    thresholds = [_thresholds(variance) for variance, _ in levels]
    width = 1 << max(len(t) for t in thresholds).bit_length()
    top = (1 << WORD_BITS) - 1
    high = torch.full((len(levels), width), top, dtype=torch.int64)
    low = high.clone()
    for row, values in enumerate(thresholds):
        high[row, : len(values)] = torch.tensor([value >> WORD_BITS for value in values])
        low[row, : len(values)] = torch.tensor([value & top for value in values])
        # Each of the probabilities is rounded to 2^-126, and the arithmetic errs by far less.
        error += len(values) * 2.0 ** -(2 * WORD_BITS) + 2.0**-120
    reaches = tuple(len(values) // 2 for values in thresholds)
    return DiscreteGaussianTable(float(sigma), high, low, reaches, tuple(stride for _, stride in levels), error)


def _levels(variance: Fraction) -> tuple[list[tuple[Fraction, int]], float]:
    """(variance, stride) of the summands, and the distance that the splitting costs."""
    levels, stride, error = [], 1, 0.0
    while variance > _LARGEST**2:
        # The first summand's deviation is 2 c, so that tau is close to 2.
        c = min(_LARGEST // 2, max(_SMALLEST // 2, math.isqrt(int(variance)) // 200 + 1))
        rest = (variance - 4 * c * c) / (c * c)
        tau_square = 4 * c * c * rest / variance
        error += 2 * math.exp(-2 * math.pi**2 * float(tau_square)) * (1 + 2.0**-50)
        levels.append((Fraction(4 * c * c), stride))
        variance, stride = rest, stride * c
    return [*levels, (variance, stride)], error


def _thresholds(variance: Fraction) -> list[int]:
    """`floor(2^126 P(X <= k))` for k = -reach .. reach - 1."""
    one = 1 << _FRACTION
    reach = _TAIL * (math.isqrt(math.ceil(variance)) + 1)
    ratio = _exp_negative(1 / (2 * variance))  # weight of 1 over weight of 0
    step = ratio * ratio >> _FRACTION
    weights = [one]
    for _ in range(reach):
        weights.append(weights[-1] * ratio >> _FRACTION)
        ratio = ratio * step >> _FRACTION  # weight of k + 1 over weight of k falls by the same factor each time
    both_sides = [*reversed(weights[1:]), *weights]
    total, below, result = sum(both_sides), 0, []
    for weight in both_sides[:-1]:
        below += weight
        # The far tail of a small sigma has no weight left at this precision.
        result.append(min((below << 2 * WORD_BITS) // total, (1 << 2 * WORD_BITS) - 1))
    return result


def _exp_negative(x: Fraction) -> int:
    """`exp(-x)` for 0 <= x <= 2, in units of 2^-320, off by a few of them."""
    point = (x.numerator << _FRACTION) // x.denominator
    total, term, count = 0, 1 << _FRACTION, 0
    while term:
        total += -term if count % 2 else term
        count += 1
        term = (term * point >> _FRACTION) // count
    return total
