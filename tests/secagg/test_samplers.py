"""The discrete Gaussian is exact: against its probabilities, against OpenDP, and where float64 cannot decide."""

from __future__ import annotations

import math

import numpy as np
import pytest
from mpmath import mp
from scipy import stats

from secagg import samplers
from secagg.randomness import Keystream
from secagg.samplers import discrete_gaussian, opendp_discrete_gaussian, rounded_gaussian


def probabilities(sigma: float, reach: int) -> np.ndarray:
    support = np.arange(-reach, reach + 1)
    weights = np.exp(-(support**2) / (2 * sigma**2))
    return weights / weights.sum()


def chi_square(observed: np.ndarray, expected: np.ndarray) -> float:
    """p-value, with cells of few expected draws joined into the tails."""
    keep = expected >= 10
    o, e = observed[keep], expected[keep]
    rest_o, rest_e = observed[~keep].sum(), expected[~keep].sum()
    if rest_e > 0:
        o, e = np.append(o, rest_o), np.append(e, rest_e)
    return float(stats.chisquare(o, e * o.sum() / e.sum()).pvalue)


@pytest.mark.parametrize("sigma", [1, 2, 4, 13, 100])
def test_draws_follow_the_exact_probabilities(sigma):
    size, reach = 400_000, 12 * sigma
    draws = discrete_gaussian(sigma, size, Keystream.seeded(sigma))
    assert np.abs(draws).max() <= reach
    observed = np.bincount(draws + reach, minlength=2 * reach + 1)
    assert chi_square(observed, probabilities(sigma, reach) * size) > 1e-3


@pytest.mark.parametrize("sigma", [4, 1024, 20724, 10**6, 2**30, 2**40])
def test_variance_and_symmetry_hold_at_every_size_of_sigma(sigma):
    draws = discrete_gaussian(sigma, 1_000_000, Keystream.seeded(sigma + 1)) / sigma
    assert abs(draws.var() - 1) < 0.005
    assert abs(draws.mean()) < 0.004
    assert abs(stats.kurtosis(draws)) < 0.03


@pytest.mark.parametrize("sigma", [1024, 2**30])
def test_large_sigma_is_normal_in_shape_with_uniform_low_digits(sigma):
    draws = discrete_gaussian(sigma, 300_000, Keystream.seeded(9))
    assert stats.kstest(draws[:100_000] / sigma, "norm").pvalue > 1e-3
    low = np.bincount(draws % 64, minlength=64)
    assert stats.chisquare(low).pvalue > 1e-3


def test_equals_opendps_vetted_sampler_in_distribution():
    ours = discrete_gaussian(6, 20_000, Keystream.system())
    theirs = opendp_discrete_gaussian(6.0, 20_000)
    edges = np.concatenate([[-np.inf], np.arange(-12, 13, 2) - 0.5, [np.inf]])
    table = [np.histogram(x, edges)[0] for x in (ours, theirs)]
    # System randomness: this threshold fails by chance once in a million runs.
    assert stats.chi2_contingency(table).pvalue > 1e-6


def test_seeded_draws_repeat_and_system_draws_do_not():
    first, again = (discrete_gaussian(50, 1000, Keystream.seeded(4)) for _ in range(2))
    assert np.array_equal(first, again)
    one, two = (discrete_gaussian(10**6, 1000, Keystream.system()) for _ in range(2))
    assert not np.array_equal(one, two)


class Words:
    """A keystream whose next words are given."""

    def __init__(self, *words: int) -> None:
        self.given = list(words)

    def words(self, count: int) -> np.ndarray:
        head, self.given = self.given[:count], self.given[count:]
        return np.array(head, dtype=np.uint64)


def test_the_table_of_k_is_the_exact_distribution_to_64_bits():
    with mp.workprec(400):
        norm = mp.nsum(lambda k: mp.exp(-(k**2) / 2), [0, mp.inf])
        total = mp.mpf(0)
        for k, entry in enumerate(samplers._k_table()):
            total += mp.exp(-mp.mpf(k * k) / 2) / norm
            assert int(entry) == int(mp.floor(total * 2**64))


@pytest.mark.parametrize(("next_bits", "k"), [(0, 2), (2**64 - 1, 3)])
def test_a_tie_with_a_table_entry_is_decided_by_further_bits(next_bits, k):
    tie = int(samplers._k_table()[2])
    assert samplers._draw_k(np.array([tie], np.uint64), Words(next_bits)).tolist() == [k]


def test_the_last_table_entry_leads_to_any_larger_k():
    top = 2**64 - 1
    assert samplers._exact_k(top, Words(0)) == 9
    assert samplers._exact_k(top, Words(2**64 - 1, 0)) > 11


def test_an_undecidable_acceptance_is_decided_by_further_bits():
    k, j, sigma = 1, 3, 7
    with mp.workprec(400):
        exact = mp.exp(-mp.mpf(j * (2 * k * sigma + j)) / (2 * sigma**2)) * 2**64
        word, rest = int(mp.floor(exact)), exact - mp.floor(exact)
        tail = int(mp.floor(rest * 2**64))
    assert samplers._exact_accept(word, k, j, sigma, Words(tail - 1))
    assert not samplers._exact_accept(word, k, j, sigma, Words(tail + 1))
    assert samplers._exact_accept(word - 1, k, j, sigma, Words())
    assert not samplers._exact_accept(word + 1, k, j, sigma, Words())


def test_near_ties_of_the_acceptance_reach_the_exact_decision(monkeypatch):
    asked = []
    monkeypatch.setattr(samplers, "_exact_accept", lambda *arguments: asked.append(arguments) or True)
    k, j, sigma = np.array([0, 0]), np.array([5, 5]), 10
    p = math.exp(-0.125) * 2**64
    words = np.array([int(p) + 2**20, int(p) + 2**30], dtype=np.uint64)
    got = samplers._accept(words, k, j, sigma, Words())
    assert len(asked) == 1
    assert got.tolist() == [True, False]


def test_the_float_margin_covers_the_real_error_at_every_size():
    rng = np.random.default_rng(0)
    for sigma in (4, 1023, 2**30 - 1, 2**40 - 3):
        for k in range(10):
            j = int(rng.integers(0, sigma))
            x = np.float64(j / sigma)
            got = np.exp(-x * (2 * k + x) / 2) * 2.0**64
            with mp.workprec(300):
                want = mp.exp(-mp.mpf(j * (2 * k * sigma + j)) / (2 * sigma * sigma)) * 2**64
                assert abs(mp.mpf(float(got)) - want) < samplers._MARGIN / 4


@pytest.mark.parametrize("sigma", [0, -3, 2**41, 2.5, float("nan")])
def test_a_sigma_out_of_range_is_refused(sigma):
    with pytest.raises(ValueError, match="sigma"):
        discrete_gaussian(sigma, 10, Keystream.seeded(0))


def test_no_draws_are_no_draws():
    assert discrete_gaussian(5, 0, Keystream.seeded(0)).shape == (0,)


def test_the_rounded_gaussian_has_its_standard_deviation_and_whole_values():
    draws = rounded_gaussian(37.5, 1_000_000, Keystream.seeded(1))
    assert draws.dtype == np.int64
    # Rounding adds 1/12 of variance.
    assert abs(draws.var() / (37.5**2 + 1 / 12) - 1) < 0.005
