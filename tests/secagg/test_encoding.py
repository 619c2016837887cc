"""The grid's bounds are checked, and decoding is exact for negatives too."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.encoding import FixedPoint
from secagg.errors import EncodingError


@given(st.integers(4, 40), st.integers(-(2**52), 2**52))
def test_decoding_is_exact_on_both_sides_of_zero(bits, value):
    decoded = FixedPoint(2**bits).decode(np.array([value], dtype=np.int64))
    assert float(decoded[0]) * 2**bits == value


@pytest.mark.parametrize("scale", [0, 8, 3 * 2**10, 2**41, -16])
def test_only_powers_of_two_in_range_are_grids(scale):
    with pytest.raises(EncodingError, match="powers of two"):
        FixedPoint(scale)


def test_the_clip_norm_in_steps_is_rounded_down():
    assert FixedPoint(2**10).clip_steps(1.9999) == 2047


@pytest.mark.parametrize("clip", [0.0, 1e-9, float("nan"), float("inf"), 2.0**35])
def test_a_clip_norm_that_the_grid_cannot_hold_is_refused(clip):
    with pytest.raises(EncodingError, match="grid steps"):
        FixedPoint(2**20).clip_steps(clip)


def test_sums_that_could_wrap_are_refused():
    grid = FixedPoint(2**30)
    grid.check_headroom(10**6, 1.0, 2.0**40)
    with pytest.raises(EncodingError, match="scale_bits"):
        grid.check_headroom(2**33, 1.0, 1.0)
    with pytest.raises(EncodingError, match="scale_bits"):
        grid.check_headroom(1, 1.0, 2.0**60)
