"""The grid's bounds are checked, and decoding is exact for negatives too."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
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


@given(st.integers(4, 40), st.integers(1, 10**6), st.floats(1e-6, 1e6), st.floats(0.0, 1e15))
def test_the_ring_is_the_narrowest_that_holds_the_sum_and_its_noise(bits, contributions, clip, noise_std):
    largest = Fraction(contributions * clip * 2**bits + 12 * noise_std)
    assume(largest < 2**63)
    ring = FixedPoint(2**bits).ring_bits(contributions, clip, noise_std)
    assert largest < 2 ** (ring - 1)
    assert ring == 2 or largest >= 2 ** (ring - 2)


@pytest.mark.parametrize(
    ("contributions", "clip", "noise_std", "ring"),
    [
        (0, 1.0, 0.0, 2),
        (1, 2.0**-4, 0.0, 2),  # one step of the grid of 2^4: -1, 0 and 1 fit into 2 bits
        (1, 2.0**-3, 0.0, 3),  # 2 steps do not: 2 bits end at 1
        (2**10 - 1, 1.0, 0.0, 15),
        (2**10, 1.0, 0.0, 16),  # exactly 2^14 is not below 2^14
        (1, 1.0, 1.0, 6),  # 16 + 12 = 28 steps
        (1, 1.0, 2.0, 7),  # 16 + 24 = 40 steps
        (2**58, 1.0, 0.0, 64),
    ],
)
def test_rings_at_the_edges(contributions, clip, noise_std, ring):
    assert FixedPoint(2**4).ring_bits(contributions, clip, noise_std) == ring


@pytest.mark.parametrize(
    ("contributions", "clip", "noise_std"),
    [(2**59, 1.0, 0.0), (1, 1.0, 2.0**60), (1, float("nan"), 0.0), (1, float("inf"), 0.0), (1, 1.0, float("nan"))],
)
def test_what_no_ring_holds_is_refused(contributions, clip, noise_std):
    with pytest.raises(EncodingError, match="scale_bits"):
        FixedPoint(2**4).ring_bits(contributions, clip, noise_std)
