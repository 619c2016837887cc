"""Shares of noise add up to at least what was asked for, and land where the trust model says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.errors import EncodingError
from secagg.noise_shares import draw_noise, plan_noise
from secagg.randomness import Keystream


@given(
    mechanism=st.sampled_from(["gaussian", "discrete_gaussian"]),
    z=st.floats(0.3, 20),
    shares=st.integers(1, 500),
    extra=st.integers(0, 20),
)
def test_distributed_shares_reach_the_multiplier_with_n_t_givers_and_more_with_more(mechanism, z, shares, extra):
    plan = plan_noise(mechanism, "distributed", z, 2**20, shares)
    assert plan.server_std == 0
    reached = plan.sum_multiplier(shares)
    assert z * (1 - 1e-12) <= reached <= z * (1 + 1e-3)
    assert plan.sum_multiplier(shares + extra) >= reached
    if mechanism == "discrete_gaussian":
        assert plan.client_std == int(plan.client_std)


def test_local_trust_puts_all_of_it_in_every_message():
    plan = plan_noise("discrete_gaussian", "local", 2.0, 1000, 50)
    assert plan.client_std == 2000
    assert plan.sum_multiplier(50) == pytest.approx(2 * math.sqrt(50))


def test_central_trust_gives_it_to_the_server_whoever_survives():
    plan = plan_noise("discrete_gaussian", "central", 2.0, 1000, 50)
    assert (plan.client_std, plan.server_std) == (0, 2000)
    assert plan.sum_multiplier(7) == plan.sum_multiplier(50) == 2.0


def test_no_trust_model_no_noise():
    plan = plan_noise("gaussian", "none", 0.0, 1000, 50)
    assert plan.sum_std(50) == 0


@pytest.mark.parametrize(("clip_steps", "advice"), [(10, "raise"), (2**40, "lower")])
def test_discrete_shares_outside_4_to_2_30_steps_are_refused(clip_steps, advice):
    with pytest.raises(EncodingError, match=f"{advice} privacy.scale_bits"):
        plan_noise("discrete_gaussian", "distributed", 1.0, clip_steps, 100)


@pytest.mark.parametrize("mechanism", ["gaussian", "discrete_gaussian"])
def test_draws_have_the_planned_standard_deviation(mechanism):
    draws = draw_noise(mechanism, 1500.0, 1_000_000, Keystream.seeded(0))
    assert draws.dtype == np.int64
    assert abs(draws.var() / 1500.0**2 - 1) < 0.005


def test_no_noise_is_zeros():
    assert not draw_noise("discrete_gaussian", 0.0, 5, Keystream.seeded(0)).any()
