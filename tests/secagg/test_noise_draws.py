"""Draws have the standard deviation that was asked for, and steps are only ever rounded toward more noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.errors import EncodingError
from secagg.noise_draws import MAX_SIGMA, MIN_SIGMA, draw_noise, whole_steps
from secagg.randomness import Keystream


@pytest.mark.parametrize("mechanism", ["gaussian", "discrete_gaussian", "skellam"])
def test_draws_have_the_planned_standard_deviation(mechanism):
    draws = draw_noise(mechanism, 1500.0, 1_000_000, Keystream.seeded(0))
    assert draws.dtype == np.int64
    assert abs(draws.var() / 1500.0**2 - 1) < 0.005


@pytest.mark.parametrize("mechanism", ["discrete_gaussian", "skellam"])
def test_integer_mechanisms_round_a_joint_draw_up_to_whole_steps(mechanism):
    up, whole = (draw_noise(mechanism, std, 50, Keystream.seeded(1)) for std in (10.2, 11.0))
    np.testing.assert_array_equal(up, whole)


def test_no_noise_is_zeros():
    assert not draw_noise("discrete_gaussian", 0.0, 5, Keystream.seeded(0)).any()


def test_an_unknown_mechanism_draws_nothing():
    with pytest.raises(EncodingError, match="gaussian, discrete_gaussian, skellam"):
        draw_noise("laplace", 5.0, 5, Keystream.seeded(0))


@given(st.floats(MIN_SIGMA - 1, MAX_SIGMA, exclude_min=True))
def test_whole_steps_are_the_next_whole_number(std):
    assert std <= whole_steps(std, "a share") <= std + 1


def test_no_noise_stays_none_and_impossible_steps_are_refused_with_advice():
    assert whole_steps(0.0, "a share") == 0.0
    for std, advice in ((2.9, "raise"), (MAX_SIGMA + 0.5, "lower")):
        with pytest.raises(EncodingError, match=f"a share of .* outside 4 to 2.30: {advice} privacy.scale_bits"):
            whole_steps(std, "a share")
