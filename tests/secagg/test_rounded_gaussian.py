"""The rounded Gaussian has the spread that it is asked for."""

from __future__ import annotations

import numpy as np

from secagg.randomness import Keystream
from secagg.rounded_gaussian import rounded_gaussian


def test_the_rounded_gaussian_has_its_standard_deviation_and_whole_values():
    draws = rounded_gaussian(37.5, 1_000_000, Keystream.seeded(1))
    assert draws.dtype == np.int64
    # Rounding adds 1/12 of variance.
    assert abs(draws.var() / (37.5**2 + 1 / 12) - 1) < 0.005
