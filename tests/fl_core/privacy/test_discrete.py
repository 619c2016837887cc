"""Bounds on integer noise against sums over exact probabilities."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fl_core.privacy import discrete
from fl_core.privacy.events import MechanismEvent
from fl_core.privacy.rdp import INTEGER_ORDERS, ORDERS, rdp_of
from tests.fl_core.privacy import exact

SLACK = 1 + 1e-7


def moments_at(order, q, ratio):
    return discrete.sampled_gaussian_moments(np.array([order]), q, ratio)[0]


@pytest.mark.parametrize("sigma", [0.5, 0.7, 1.0, 2.0, 5.0, 8.0])
def test_sampled_discrete_gaussian_is_below_the_gaussian_formula_in_one_dimension(sigma):
    for shift, q, order in itertools.product((1, 2, 3, 7, 13), (0.001, 0.02, 0.2, 0.5, 0.9), (2, 3, 4, 8, 16, 32, 64)):
        zero = exact.discrete_gaussian(sigma, int(order * shift + 15 * sigma + 5))
        forward, backward = exact.both_directions(zero, exact.shifted(zero, shift), q, order)
        bound = moments_at(order, q, shift / sigma) / (order - 1)
        assert forward <= bound * SLACK + 1e-15
        assert backward <= forward * SLACK + 1e-15


def test_the_gaussian_formula_is_nearly_attained_so_it_is_not_merely_loose():
    zero = exact.discrete_gaussian(8.0, 400)
    forward, _ = exact.both_directions(zero, exact.shifted(zero, 8), 0.1, 6)
    assert forward == pytest.approx(moments_at(6, 0.1, 1.0) / 5, rel=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    sigma=st.floats(0.5, 6.0),
    shift=st.integers(1, 10),
    q=st.floats(1e-4, 0.99),
    order=st.floats(1.01, 20.0),
)
def test_interpolated_moments_bound_fractional_orders(sigma, shift, q, order):
    zero = exact.discrete_gaussian(sigma, int(order * shift + 15 * sigma + 5))
    whole = np.arange(1, 22)
    moments = discrete.sampled_gaussian_moments(whole, q, shift / sigma)
    bound = discrete.interpolate_moments(np.array([order]), whole, moments)[0]
    assert max(exact.both_directions(zero, exact.shifted(zero, shift), q, order)) <= bound * SLACK + 1e-13


@pytest.mark.parametrize("shift", [(1, 1), (2, 1), (3, 2)])
@pytest.mark.parametrize("sigma", [0.6, 1.5, 3.0])
def test_sampled_discrete_gaussian_is_below_the_gaussian_formula_in_two_dimensions(sigma, shift):
    for q, order in itertools.product((0.01, 0.3, 0.8), (2, 3, 7)):
        line = exact.discrete_gaussian(sigma, int(order * max(shift) + 13 * sigma + 4))
        zero = (line[:, None] + line[None, :]).ravel()
        one = (exact.shifted(line, shift[0])[:, None] + exact.shifted(line, shift[1])[None, :]).ravel()
        forward, backward = exact.both_directions(zero, one, q, order)
        bound = moments_at(order, q, np.hypot(*shift) / sigma) / (order - 1)
        assert forward <= bound * SLACK
        assert backward <= forward * SLACK


def test_moments_stay_positive_where_naive_sums_round_to_zero():
    moments = discrete.sampled_gaussian_moments(INTEGER_ORDERS, 1e-9, 1e-3)
    first_term = INTEGER_ORDERS * (INTEGER_ORDERS - 1) / 2 * 1e-18 * np.expm1(1e-6)
    np.testing.assert_allclose(moments[1:30], first_term[1:30], rtol=1e-5)


def summed(sigma, shares, half_width):
    """Log probabilities of a sum of discrete Gaussians; products and sums of positive numbers, so no cancellation."""
    one = np.exp(exact.discrete_gaussian(sigma, half_width))
    total = one
    for _ in range(shares - 1):
        total = np.convolve(total, one)
    with np.errstate(divide="ignore"):
        return np.log(total)


@pytest.mark.parametrize("shares", [2, 3, 5, 8])
@pytest.mark.parametrize("sigma", [0.35, 0.45, 0.6, 0.8, 1.0])
def test_the_sum_of_shares_is_within_tau_of_one_discrete_gaussian(sigma, shares):
    half = int(18 * sigma) + 4
    total = summed(sigma, shares, half)
    single = exact.discrete_gaussian(sigma * np.sqrt(shares), shares * half)
    centre = slice(shares * half - half // 2, shares * half + half // 2 + 1)
    gap = np.abs(total - single)[centre].max()
    assert gap <= discrete.sum_distance(sigma, shares)
    if sigma <= 0.8:
        assert gap > 0.01 * discrete.sum_distance(sigma, shares), "tau should not be vacuous either"


def test_tau_of_one_share_is_zero_and_of_many_is_summed_to_the_end():
    assert discrete.sum_distance(0.5, 1) == 0.0
    k = np.arange(1, 300_000)
    expected = 10 * np.exp(-2 * (np.pi * 0.5) ** 2 * k / (k + 1)).sum()
    assert expected <= discrete.sum_distance(0.5, 300_000) <= expected * 1.0001
    assert discrete.sum_distance(4.0, 10**9) < 1e-60


@pytest.mark.parametrize(("first", "second"), [(0.5, 0.5), (0.5, 0.8), (0.6, 1.5), (0.9, 0.7), (0.8, 3.0)])
def test_a_sum_of_two_unequal_shares_is_within_its_bound_of_one_discrete_gaussian(first, second):
    half = int(18 * max(first, second)) + 4
    with np.errstate(divide="ignore"):
        total = np.log(np.convolve(*(np.exp(exact.discrete_gaussian(sigma, half)) for sigma in (first, second))))
    single = exact.discrete_gaussian(np.hypot(first, second), 2 * half)
    centre = slice(2 * half - half // 2, 2 * half + half // 2 + 1)
    gap = np.abs(total - single)[centre].max()
    assert gap <= discrete.joined_distance(first, second)
    if first <= 0.6:
        assert gap > 0.01 * discrete.joined_distance(first, second), "the bound should not be vacuous either"


def test_joining_two_equal_shares_is_the_sum_of_two():
    assert discrete.joined_distance(0.7, 0.7) == pytest.approx(discrete.sum_distance(0.7, 2))


@pytest.mark.parametrize("shares", [2, 4])
@pytest.mark.parametrize("sigma", [0.45, 0.6, 0.8, 1.2])
def test_each_of_the_three_forms_bounds_the_sum_at_fractional_orders(sigma, shares):
    orders = np.array([1.05, 1.3, 1.7, 2.0, 2.5, 4.0, 7.5])
    half = int(24 * sigma) + 25
    total = summed(sigma, shares, half)
    spread = sigma * np.sqrt(shares)
    tau = discrete.sum_distance(sigma, shares)
    for shift in (1, 2, 3):
        other = exact.shifted(total, shift)
        found = np.array([max(exact.both_directions(total, other, 1, a)) for a in orders])
        bound = discrete.discrete_gaussian_rdp(orders, shift / spread, shift / spread, tau, 1)
        assert (found <= bound * SLACK).all()
        # (1, shift) in two dimensions: divergences of products add up
        first = np.array([max(exact.both_directions(total, exact.shifted(total, 1), 1, a)) for a in orders])
        bound = discrete.discrete_gaussian_rdp(orders, np.hypot(1, shift) / spread, (1 + shift) / spread, tau, 2)
        assert (found + first <= bound * SLACK).all()


@pytest.mark.parametrize(("sigma", "shares", "shift", "q"), [(0.5, 3, 1, 0.2), (0.7, 2, 2, 0.05), (0.9, 4, 3, 0.5)])
def test_sampled_sum_of_shares_is_below_what_the_accountant_counts(sigma, shares, shift, q):
    half = int(24 * sigma) + 40
    total = summed(sigma, shares, half)
    event = MechanismEvent(
        "discrete_gaussian", sigma * shares**0.5 / shift, 1, q, clients=shares, dimension=1, scale=float(shift)
    )
    counted = rdp_of(event)
    for order in (1.3, 2.0, 3.5, 6.0, 10.0):
        found = max(exact.both_directions(total, exact.shifted(total, shift), q, order))
        assert found <= counted[np.argmin(np.abs(ORDERS - order))] * SLACK


@pytest.mark.parametrize("variance", [4.0, 20.0, 150.0])
def test_skellam_bound_holds_with_and_without_sampling(variance):
    half = int(40 * variance**0.5) + 60
    x = np.arange(-half, half + 1)
    zero = stats.skellam.logpmf(x, variance / 2, variance / 2)
    for shift, order in itertools.product((1, 2, 5), (2, 3, 5, 9)):
        every = np.arange(order + 1)
        rdp = np.zeros(order + 1)
        rdp[2:] = discrete.skellam_rdp(every[2:], shift, discrete.l1_sensitivity(shift, 1), variance)
        one = exact.shifted(zero, shift)
        assert max(exact.both_directions(zero, one, 1, order)) <= rdp[order] * SLACK
        for q in (0.01, 0.3):
            bound = discrete.sampled_moments_in_general(np.array([order]), q, rdp)[0] / (order - 1)
            assert max(exact.both_directions(zero, one, q, order)) <= bound * SLACK


@settings(max_examples=80, deadline=None)
@given(q=st.floats(1e-5, 0.99), ratio=st.floats(0.01, 5.0))
def test_the_bound_for_the_discrete_gaussian_is_never_above_the_general_one(q, ratio):
    orders = np.arange(2, 65)
    rdp = 0.5 * np.arange(65) * ratio**2
    special = discrete.sampled_gaussian_moments(orders, q, ratio)
    general = discrete.sampled_moments_in_general(orders, q, rdp)
    assert (special <= general * SLACK).all()


def test_l1_sensitivity_takes_the_smaller_of_both_bounds():
    assert discrete.l1_sensitivity(3.0, 4) == 6.0
    assert discrete.l1_sensitivity(3.0, 10_000) == 9.0
