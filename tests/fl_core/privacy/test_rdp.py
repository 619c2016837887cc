import math

import dp_accounting as dpa
import numpy as np
import pytest
from dp_accounting import rdp as dp_rdp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fl_core.privacy.events import MechanismEvent, PrivacyError
from fl_core.privacy.rdp import INTEGER_ORDERS, ORDERS, epsilon_from_rdp, honest_tau, rdp_of, realised_noise
from tests.fl_core.privacy import exact

RELATION = dpa.NeighboringRelation


def event(z, steps=1, q=1.0, **rest):
    return MechanismEvent(rest.pop("mechanism", "gaussian"), z, steps, q, **rest)


def test_orders_are_those_of_dp_accounting():
    np.testing.assert_array_equal(ORDERS, dp_rdp.rdp_privacy_accountant.DEFAULT_RDP_ORDERS)
    assert set(INTEGER_ORDERS) >= {math.floor(a) for a in ORDERS} | {math.ceil(a) for a in ORDERS}


def test_unsampled_gaussian_is_half_the_order_over_the_square_of_the_noise():
    np.testing.assert_allclose(rdp_of(event(2.0, 3)), 3 * ORDERS / 8)


def test_replace_one_doubles_the_sensitivity_of_an_unsampled_gaussian():
    np.testing.assert_allclose(rdp_of(event(2.0), "replace_one"), rdp_of(event(1.0)))
    np.testing.assert_allclose(
        rdp_of(event(2.0, mechanism="discrete_gaussian"), "replace_one"),
        rdp_of(event(1.0, mechanism="discrete_gaussian")),
    )


@pytest.mark.parametrize(("q", "z"), [(0.01, 1.0), (0.3, 0.8), (0.001, 4.0), (0.9, 2.0), (0.05, 0.5)])
def test_sampled_gaussian_agrees_with_dp_accounting_at_every_order(q, z):
    accountant = dp_rdp.RdpAccountant(neighboring_relation=RELATION.REPLACE_SPECIAL)
    accountant.compose(dpa.PoissonSampledDpEvent(q, dpa.GaussianDpEvent(z)))
    theirs, ours = accountant.rdp, rdp_of(event(z, q=q))
    agreeing = np.isfinite(theirs) & (theirs > 1e-9)
    assert (ours <= theirs * (1 + 1e-6) + 1e-9).all()
    close = np.abs(ours - theirs) <= 1e-6 * theirs
    assert close[agreeing].mean() > 0.9


@pytest.mark.parametrize(("q", "z"), [(0.1, 1.0), (0.5, 2.0), (0.02, 0.7)])
@pytest.mark.parametrize("order", [1.5, 2.0, 3.7, 8.0])
def test_sampled_gaussian_is_exact_at_integers_and_bounds_numerical_integration(q, z, order):
    ours = rdp_of(event(z, q=q))[np.argmin(np.abs(ORDERS - order))]
    truth = exact.sampled_gaussian_rdp(q, z, order)
    if order.is_integer():
        assert ours == pytest.approx(truth, rel=1e-6)
    else:  # the library's series and the interpolation are upper bounds between integers
        above = exact.sampled_gaussian_rdp(q, z, math.ceil(order))
        assert truth * (1 - 1e-6) <= ours <= above * (1 + 1e-6)


def test_tiny_divergences_never_round_to_nothing():
    tiny = rdp_of(event(1e4, q=1e-6))
    assert (tiny > 0).all()
    assert np.all(np.diff(tiny) >= -1e-25)


def test_sampling_never_costs_more_than_no_sampling():
    for mechanism in ("gaussian", "discrete_gaussian", "skellam"):
        rest = {"mechanism": mechanism, "dimension": 100, "scale": 1000.0}
        assert (rdp_of(event(0.7, q=0.9, **rest)) <= rdp_of(event(0.7, **rest)) * (1 + 1e-12)).all()


def test_fixed_size_sampling_takes_the_noise_over_the_doubled_sensitivity():
    sampled = MechanismEvent("gaussian", 2.0, 50, sampling="fixed", cohort=10, population=100)
    assert epsilon_from_rdp(rdp_of(sampled, "replace_one"), 1e-5) == pytest.approx(9.42772, abs=1e-5)
    np.testing.assert_array_equal(rdp_of(sampled, "zero_out"), rdp_of(sampled, "replace_one"))
    everyone = MechanismEvent("gaussian", 2.0, 50, sampling="fixed", cohort=100, population=100)
    np.testing.assert_allclose(rdp_of(everyone, "replace_one"), 50 * ORDERS / 2)


def test_amplification_of_integer_noise_by_fixed_size_sampling_is_not_counted():
    rest = {"mechanism": "discrete_gaussian", "noise_multiplier": 2.0, "steps": 5}
    sampled = MechanismEvent(**rest, sampling="fixed", cohort=1, population=100)
    np.testing.assert_array_equal(rdp_of(sampled), rdp_of(MechanismEvent(**rest, sample_rate=1.0)))


@pytest.mark.parametrize("mechanism", ["gaussian", "discrete_gaussian", "skellam"])
def test_poisson_sampling_under_replace_one_is_refused_with_a_way_out(mechanism):
    with pytest.raises(PrivacyError, match="pld accountant" if mechanism == "gaussian" else "use zero_out"):
        rdp_of(event(1.0, q=0.5, mechanism=mechanism, scale=10.0, dimension=2), "replace_one")


def test_survivors_scale_the_noise():
    assert realised_noise(event(2.0, clients=8, survivors=2)) == pytest.approx(1.0)
    np.testing.assert_allclose(rdp_of(event(2.0, clients=8, survivors=2)), rdp_of(event(1.0)))


def test_the_discrete_gaussian_is_the_gaussian_when_nothing_is_sampled():
    np.testing.assert_allclose(rdp_of(event(1.3, 7, mechanism="discrete_gaussian")), rdp_of(event(1.3, 7)))


def test_coarse_grids_cost_more_and_need_the_dimension():
    coarse = {"mechanism": "discrete_gaussian", "clients": 100, "scale": 10.0}  # shares of one step
    with pytest.raises(PrivacyError, match='"dimension" is missing'):
        rdp_of(event(1.0, **coarse))
    assert (rdp_of(event(1.0, dimension=100, **coarse)) > rdp_of(event(1.0))).all()
    fine = {**coarse, "scale": 2.0**20}
    np.testing.assert_array_equal(rdp_of(event(1.0, **fine)), rdp_of(event(1.0, mechanism="discrete_gaussian")))


def test_only_surviving_shares_count_in_tau():
    rest = {"mechanism": "discrete_gaussian", "dimension": 50, "scale": 10.0}
    all_there = rdp_of(event(1.0, clients=100, **rest))
    two_left = rdp_of(event(1.0, clients=100, survivors=2, **rest))
    assert (two_left > all_there).all()


@pytest.mark.parametrize("missing", ["scale", "dimension"])
def test_skellam_needs_scale_and_dimension(missing):
    given = {"mechanism": "skellam", "scale": 100.0, "dimension": 5}
    del given[missing]
    with pytest.raises(PrivacyError, match=f'"{missing}" is missing'):
        rdp_of(event(1.0, **given))


def test_skellam_approaches_the_gaussian_on_a_fine_grid_and_costs_more_on_a_coarse_one():
    gaussian = rdp_of(event(1.0))
    whole = np.isin(ORDERS, INTEGER_ORDERS)
    fine = rdp_of(event(1.0, mechanism="skellam", scale=65536.0, dimension=2**20))
    np.testing.assert_allclose(fine[whole], gaussian[whole], rtol=1e-6)
    coarse = rdp_of(event(1.0, mechanism="skellam", scale=4.0, dimension=2**20))
    assert (coarse > fine * 1.002).all()


def test_results_are_cached_read_only_and_additive():
    one, five = rdp_of(event(1.1, q=0.2)), rdp_of(event(1.1, 5, q=0.2))
    np.testing.assert_allclose(five, 5 * one)
    assert not one.flags.writeable
    assert not five.flags.writeable


def test_curves_without_a_finite_value_give_no_finite_epsilon():
    assert epsilon_from_rdp(np.full(len(ORDERS), np.nan), 1e-5) == math.inf
    assert epsilon_from_rdp(rdp_of(event(1e-9)), 1e-5) == math.inf
    partly = rdp_of(event(1.0)).copy()
    partly[::2] = np.nan
    assert math.isfinite(epsilon_from_rdp(partly, 1e-5))


def test_aggregators_noise_adds_up_with_that_of_the_clients():
    both = event(3.0, clients=8, survivors=8, aggregators=4, aggregator_multiplier=2.0)
    assert realised_noise(both) == pytest.approx(5.0)
    np.testing.assert_allclose(rdp_of(both), rdp_of(event(5.0)))
    only = event(0.0, aggregators=4, aggregator_multiplier=2.0, mechanism="discrete_gaussian")
    np.testing.assert_allclose(rdp_of(only), rdp_of(event(4.0)))
    fewer = event(3.0, clients=8, survivors=2, aggregators=4, aggregator_multiplier=2.0)
    assert realised_noise(fewer) == pytest.approx(math.hypot(1.5, 4.0))


def test_aggregators_noise_on_a_coarse_grid_counts_in_tau():
    rest = {"mechanism": "discrete_gaussian", "dimension": 50, "scale": 10.0, "clients": 100}
    fine = event(1.0, aggregators=2, aggregator_multiplier=0.08, **rest)
    coarse = event(1.0, aggregators=2, aggregator_multiplier=0.05, **rest)
    assert honest_tau(coarse) > honest_tau(fine) > honest_tau(event(1.0, **rest))
    assert honest_tau(event(0.0, aggregators=1, aggregator_multiplier=0.05, **rest)) == 0.0
    assert honest_tau(event(1.0, aggregators=1, aggregator_multiplier=1.0)) is None


@settings(max_examples=25, deadline=None)
@given(
    variance=st.integers(4, 200),
    shift=st.integers(1, 8),
    q=st.sampled_from([1.0, 0.5, 0.1, 0.01]),
)
def test_what_is_counted_for_skellam_noise_is_above_its_true_divergence(variance, shift, q):
    half = int(30 * variance**0.5) + 12 * shift + 40
    x = np.arange(-half, half + 1)
    zero = stats.skellam.logpmf(x, variance / 2, variance / 2)
    one = exact.shifted(zero, shift)
    counted = rdp_of(event(variance**0.5 / shift, q=q, mechanism="skellam", dimension=1, scale=float(shift)))
    for order in (1.3, 2.0, 3.5, 6.0):
        found = max(exact.both_directions(zero, one, q, order))
        assert found <= counted[np.argmin(np.abs(ORDERS - order))] * (1 + 1e-7)


def test_skellam_in_two_dimensions_is_below_what_is_counted_for_both_norms():
    """Divergences of independent coordinates add up; (1, 2) has L2 norm sqrt 5 and L1 norm 3."""
    for variance in (6.0, 30.0):
        half = int(40 * variance**0.5) + 60
        zero = stats.skellam.logpmf(np.arange(-half, half + 1), variance / 2, variance / 2)
        scale = math.sqrt(5)
        counted = rdp_of(event(variance**0.5 / scale, mechanism="skellam", dimension=2, scale=scale))
        for order in (1.5, 2.0, 4.0, 9.0):
            found = sum(max(exact.both_directions(zero, exact.shifted(zero, by), 1, order)) for by in (1, 2))
            assert found <= counted[np.argmin(np.abs(ORDERS - order))] * (1 + 1e-7)
