"""Tables of the discrete Gaussian hold its probabilities to 2^-60, computed a second way with mpmath."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp

from kernels import discrete_table
from kernels.discrete_table import MAX_SIGMA, MIN_SIGMA, discrete_gaussian_table


def level_pmf(table, level):
    """What one level of the table draws: {k: probability}, exact rationals."""
    reach, ones = table.reaches[level], Fraction(1, 2**126)
    values = [
        (int(high) << 63) + int(low)
        for high, low in zip(table.high[level].tolist(), table.low[level].tolist(), strict=True)
    ][: 2 * reach]
    edges = [0, *values, 2**126]
    return {k - reach: (edges[k + 1] - edges[k]) * ones for k in range(2 * reach + 1)}


def drawn_pmf(table):
    """The distribution of `sum stride_l X_l`."""
    total = {0: Fraction(1)}
    for level, stride in enumerate(table.strides):
        joined: dict[int, Fraction] = {}
        for value, weight in total.items():
            for k, share in level_pmf(table, level).items():
                joined[value + stride * k] = joined.get(value + stride * k, 0) + weight * share
        total = joined
    return total


def distance(table, sigma):
    """Statistical distance of a draw from the discrete Gaussian, at 400 bits."""
    drawn = drawn_pmf(table)
    with mp.workprec(400):
        variance = mp.mpf(Fraction(sigma).numerator) ** 2 / mp.mpf(Fraction(sigma).denominator) ** 2
        reach = max(drawn) + int(30 * math.ceil(sigma))
        weights = {k: mp.exp(-mp.mpf(k * k) / (2 * variance)) for k in range(reach + 1)}
        norm = weights[0] + 2 * mp.fsum(list(weights.values())[1:])
        gaps = []
        for k in range(-reach, reach + 1):
            share = drawn.get(k, Fraction(0))
            gaps.append(abs(mp.mpf(share.numerator) / share.denominator - weights[abs(k)] / norm))
        return mp.fsum(gaps) / 2


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.5, 13.0, 100.3, 256.0])
def test_one_table_is_within_its_stated_error_of_the_exact_distribution(sigma):
    table = discrete_gaussian_table(sigma)
    assert len(table.strides) == 1
    assert distance(table, sigma) <= table.error < 2.0**-100


def test_a_sum_of_two_tables_is_within_its_stated_error(monkeypatch):
    # Small tables only, so that the exact convolution stays within reach.
    monkeypatch.setattr(discrete_table, "_LARGEST", 16)
    monkeypatch.setattr(discrete_table, "_SMALLEST", 4)
    table = discrete_table.discrete_gaussian_table.__wrapped__(31.7)
    assert len(table.strides) == 2
    assert distance(table, 31.7) <= table.error < 2.0**-60


def test_the_error_of_splitting_is_real_and_the_bound_covers_it(monkeypatch):
    # A summand so narrow that the sum is visibly not a discrete Gaussian: a bound that never bites would prove nothing.
    narrow, stride = Fraction(1, 4), 3
    variance = 9 * Fraction(4) + narrow
    monkeypatch.setattr(discrete_table, "_levels", lambda _: ([(narrow, 1), (Fraction(4), stride)], 0.0))
    table = discrete_table.discrete_gaussian_table.__wrapped__(float(math.sqrt(variance)))
    tau_square = float(narrow * 4 / variance)
    bound = 2 * math.exp(-2 * math.pi**2 * tau_square)
    assert 1e-3 < distance(table, math.sqrt(variance)) <= bound


@given(st.floats(MIN_SIGMA, MAX_SIGMA))
def test_every_sigma_in_range_has_tables_below_2_to_the_minus_60_of_the_right_variance(sigma):
    levels, error = discrete_table._levels(Fraction(sigma) ** 2)
    assert error < 2.0**-100
    assert sum(stride**2 * variance for variance, stride in levels) == Fraction(sigma) ** 2
    assert all(MIN_SIGMA**2 <= variance <= 256**2 for variance, _ in levels)


def test_thresholds_rise_and_are_symmetric():
    table = discrete_gaussian_table(7.0)
    pmf = level_pmf(table, 0)
    assert all(weight >= 0 for weight in pmf.values())
    assert all(abs(pmf[k] - pmf[-k]) <= Fraction(4, 2**126) for k in range(table.reaches[0]))


@pytest.mark.parametrize("sigma", [0.0, 0.49, 2.0**33, math.inf, math.nan, -3.0])
def test_sigmas_out_of_range_are_refused(sigma):
    with pytest.raises(ValueError, match=r"allowed: 0\.5 to 2\^32"):
        discrete_gaussian_table(sigma)
