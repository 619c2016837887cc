"""Noise integers by the mechanism's name, and standard deviations in whole grid steps.

Takes a mechanism, a standard deviation in grid steps and a `Keystream`; gives int64 noise. Integer mechanisms have
whole standard deviations, rounded toward more noise. It must never draw from anything but a `Keystream`, and never
draw for a mechanism that it does not know.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from secagg.discrete_gaussian import discrete_gaussian
from secagg.errors import EncodingError
from secagg.randomness import Keystream
from secagg.rounded_gaussian import rounded_gaussian
from secagg.skellam import skellam

__all__ = ["INTEGER_MECHANISMS", "MAX_SIGMA", "MIN_SIGMA", "draw_noise", "whole_steps"]

INTEGER_MECHANISMS = ("discrete_gaussian", "skellam")
# Below 4 steps the sum of discrete Gaussians is measurably not a discrete Gaussian (Kairouz, Liu, Steinke 2021,
# tau of Theorem 1 is 1e-67 at 4 and 1e-3 at 1), so smaller shares are refused rather than accounted loosely.
MIN_SIGMA = 4
MAX_SIGMA = 2**30


def draw_noise(mechanism: str, std: float, length: int, source: Keystream) -> NDArray[np.int64]:
    """`length` noise integers of standard deviation `std` grid steps; zeros for `std` 0.

    Args:
        mechanism: "gaussian" (rounded continuous), "discrete_gaussian" or "skellam".
        std: in grid steps; integer mechanisms round it up to a whole one.
        length: coordinates.
        source: keystream to draw from.

    Raises:
        EncodingError: for a mechanism that there is not.
    """
    if std == 0:
        return np.zeros(length, dtype=np.int64)
    # One joint draw standing for many shares has a standard deviation that need not be whole.
    if mechanism == "discrete_gaussian":
        return discrete_gaussian(math.ceil(std), length, source)
    if mechanism == "skellam":
        return skellam(math.ceil(std), length, source)
    if mechanism == "gaussian":
        return rounded_gaussian(std, length, source)
    raise EncodingError(f"a noise mechanism {mechanism!r}; allowed: gaussian, {', '.join(INTEGER_MECHANISMS)}")


def whole_steps(std: float, what: str) -> float:
    """`std` rounded up to a whole number of grid steps; 0 stays 0.

    Args:
        std: in grid steps.
        what: whose noise it is, for the refusal: "a noise share".

    Raises:
        EncodingError: below 4 or above 2^30 grid steps.
    """
    if std == 0:
        return 0.0
    sigma = math.ceil(std)
    if sigma < MIN_SIGMA or sigma > MAX_SIGMA:
        raise EncodingError(
            f"{what} of {std:.3g} grid steps is outside {MIN_SIGMA} to 2^30: "
            f"{'raise' if sigma < MIN_SIGMA else 'lower'} privacy.scale_bits"
        )
    return float(sigma)
