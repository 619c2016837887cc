"""Shares of noise add up to at least what was asked for, and land where the trust model says."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.errors import EncodingError
from secagg.noise_shares import plan_noise


@given(
    mechanism=st.sampled_from(["gaussian", "discrete_gaussian", "skellam"]),
    z=st.floats(0.3, 20),
    shares=st.integers(1, 500),
    extra=st.integers(0, 20),
)
def test_distributed_shares_reach_the_multiplier_with_n_t_givers_and_more_with_more(mechanism, z, shares, extra):
    plan = plan_noise(mechanism, "distributed", z, 2**20, shares)
    assert plan.server_std == plan.aggregator_std == 0
    reached = plan.sum_multiplier(shares)
    assert z * (1 - 1e-12) <= reached <= z * (1 + 1e-3)
    assert plan.sum_multiplier(shares + extra) >= reached
    if mechanism != "gaussian":
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
@pytest.mark.parametrize("mechanism", ["discrete_gaussian", "skellam"])
def test_discrete_shares_outside_4_to_2_30_steps_are_refused(mechanism, clip_steps, advice):
    with pytest.raises(EncodingError, match=f"100 noise-givers.* {advice} privacy.scale_bits"):
        plan_noise(mechanism, "distributed", 1.0, clip_steps, 100)


@pytest.mark.parametrize("mechanism", ["gaussian", "discrete_gaussian", "skellam"])
def test_each_aggregator_adds_all_of_it_whoever_survives(mechanism):
    plan = plan_noise(mechanism, "distributed", 2.0, 1000, 50, by="aggregators", aggregators=3)
    assert (plan.client_std, plan.aggregator_std, plan.aggregators) == (0, 2000, 3)
    assert plan.sum_multiplier(7) == plan.sum_multiplier(50) == pytest.approx(2 * math.sqrt(3))


def test_with_noise_by_both_each_suffices_by_itself():
    clients = plan_noise("skellam", "distributed", 2.0, 1000, 50)
    plan = plan_noise("skellam", "distributed", 2.0, 1000, 50, by="both", aggregators=3)
    assert plan.client_std == clients.client_std
    assert plan.aggregator_std == 2000
    assert plan.sum_multiplier(60) == pytest.approx(math.hypot(clients.sum_multiplier(60), 2 * math.sqrt(3)))


@given(
    z=st.floats(0.3, 20),
    clients=st.integers(2, 60),
    data=st.data(),
    by=st.sampled_from(["clients", "both"]),
)
def test_xnoise_leaves_honest_survivors_the_multiplier_at_every_drop_out(z, clients, data, by):
    n_min = data.draw(st.integers(1, clients))
    colluders = data.draw(st.integers(0, n_min - 1))
    shares = {"clients": clients, "n_min": n_min, "dropout": "xnoise"}
    plan = plan_noise("skellam", "distributed", z, 2**24, n_min - colluders, by=by, aggregators=3, **shares)
    assert len(plan.components) == clients - n_min + 1
    for survivors in range(n_min, clients + 1):
        honest = math.sqrt(survivors - colluders) * plan.share_std(survivors) / 2**24
        # Of n - d survivors t collude; the fewer survive, the larger their part.
        asked = z * math.sqrt(n_min / (n_min - colluders) * (survivors - colluders) / survivors)
        assert asked >= z * (1 - 1e-12)
        assert asked * (1 - 1e-12) <= honest <= asked * (1 + 1e-3)
        clients_std = math.sqrt(survivors) * plan.share_std(survivors)
        total = math.hypot(clients_std, math.sqrt(plan.aggregators) * plan.aggregator_std)
        assert plan.sum_std(survivors) == pytest.approx(total)
    assert plan.client_std >= plan.share_std(n_min) * (1 - 1e-12), "what is sent has all components in it"


def test_xnoise_costs_nothing_where_oversized_shares_do():
    shares = {"clients": 20, "n_min": 10}
    x = plan_noise("skellam", "distributed", 2.0, 2**20, 10, dropout="xnoise", **shares)
    oversize = plan_noise("skellam", "distributed", 2.0, 2**20, 10, **shares)
    assert x.sum_multiplier(20) == pytest.approx(2.0, rel=1e-4)
    assert oversize.sum_multiplier(20) == pytest.approx(2.0 * math.sqrt(2), rel=1e-4)


def test_xnoise_with_rounded_floats_is_refused():
    with pytest.raises(EncodingError, match="privacy.mechanism gaussian.*discrete_gaussian, skellam"):
        plan_noise("gaussian", "distributed", 2.0, 2**20, 10, dropout="xnoise", clients=20, n_min=10)


def test_xnoise_is_no_matter_of_clients_that_add_none():
    plan = plan_noise(
        "skellam", "distributed", 2.0, 2**20, 9, by="aggregators", aggregators=2, dropout="xnoise", clients=20, n_min=10
    )
    assert plan.components == ()
