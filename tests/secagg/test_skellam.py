"""Skellam draws are exact: against Bessel functions from elsewhere, and where float64 cannot decide."""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from mpmath import mp
from scipy import special, stats

from secagg import skellam as sampler
from secagg import skellam_table as tables
from secagg.exact_decisions import entries_of, entry_of
from secagg.randomness import Keystream
from secagg.skellam import skellam
from tests.secagg.given_words import Words


def probabilities(sigma: int, reach: int) -> np.ndarray:
    return special.ive(np.abs(np.arange(-reach, reach + 1)), float(sigma**2))


def chi_square(observed: np.ndarray, expected: np.ndarray) -> float:
    """p-value, with cells of few expected draws joined into one."""
    keep = expected >= 10
    o = np.append(observed[keep], observed[~keep].sum())
    e = np.append(expected[keep], expected[~keep].sum())
    return float(stats.chisquare(o, e * o.sum() / e.sum()).pvalue)


@pytest.mark.parametrize("sigma", [4, 5, 17, 256, 257, 1000])
def test_draws_follow_the_exact_probabilities(sigma):
    size, reach = 1_000_000, 12 * sigma
    draws = skellam(sigma, size, Keystream.seeded(sigma))
    assert draws.dtype == np.int64
    assert np.abs(draws).max() <= reach
    observed = np.bincount(draws + reach, minlength=2 * reach + 1)
    assert chi_square(observed, probabilities(sigma, reach) * size) > 1e-3


def test_draws_equal_differences_of_poisson_numbers_in_distribution():
    ours = skellam(6, 200_000, Keystream.seeded(3))
    poisson = np.random.default_rng(3).poisson(18, (2, 200_000))
    edges = np.concatenate([[-np.inf], np.arange(-18, 19) - 0.5, [np.inf]])
    table = [np.histogram(x, edges)[0] for x in (ours, poisson[0] - poisson[1])]
    assert stats.chi2_contingency(table).pvalue > 1e-3


@pytest.mark.parametrize("sigma", [2**20, 2**30 - 1, 2**30, 2**40])
def test_large_sigma_is_normal_in_shape_with_uniform_low_digits(sigma):
    # The excess kurtosis is 1 / sigma^2, so bins of a normal distribution are right to 1e-12.
    draws = skellam(sigma, 1_000_000, Keystream.seeded(9))
    edges = np.linspace(-5, 5, 401)
    observed = np.histogram(draws / sigma, np.concatenate([[-np.inf], edges, [np.inf]]))[0]
    expected = np.diff(np.concatenate([[0], stats.norm.cdf(edges), [1]])) * len(draws)
    assert chi_square(observed, expected) > 1e-3
    assert stats.chisquare(np.bincount(draws % 64, minlength=64)).pvalue > 1e-3


@pytest.mark.parametrize("sigma", [4, 17, 256, 257, 1000, 20724, 2**20, 2**30])
def test_variance_symmetry_and_kurtosis_hold_at_every_size_of_sigma(sigma):
    draws = skellam(sigma, 1_000_000, Keystream.seeded(sigma + 1)) / sigma
    # Four and a half standard deviations of each estimate.
    assert abs(draws.mean()) < 0.0045
    assert abs(draws.var() - 1) < 0.0065
    assert abs(stats.skew(draws)) < 0.011
    assert abs(stats.kurtosis(draws) - 1 / sigma**2) < 0.023


def test_sums_of_skellams_are_skellam():
    size, reach = 400_000, 60
    draws = sum(skellam(3 + n, size, Keystream.seeded(n)) for n in (1, 2))
    mu = 4**2 + 5**2
    observed = np.bincount(draws + reach, minlength=2 * reach + 1)
    expected = special.ive(np.abs(np.arange(-reach, reach + 1)), float(mu)) * size
    assert chi_square(observed, expected) > 1e-3


@pytest.mark.parametrize("sigma", [4, 17, 256])
def test_listed_probabilities_are_right_to_their_bits(sigma):
    got = tables.cumulated(sigma, 100)
    with mp.workprec(250):
        total = mp.mpf(0)
        for k, entry in enumerate(got[: 3 * sigma]):
            total += (2 if k else 1) * mp.exp(-mp.mpf(sigma**2)) * mp.besseli(k, sigma**2, maxterms=10**6)
            assert abs(entry - total * 2**100) < 1
    assert 2**100 - got[-1] <= 1


@pytest.mark.parametrize("x", [0, 1, 300, 1200])
def test_masses_are_bessels_function(x):
    (got,) = tables.masses([x], 257, 80)
    with mp.workprec(250):
        want = mp.exp(-mp.mpf(257**2)) * mp.besseli(x, 257**2, maxterms=10**7)
        assert abs(mp.mpf(got) / want - 1) < mp.mpf(2) ** -80


@pytest.mark.parametrize("sigma", [257, 1000, 2**20 + 1, 2**30, 2**40])
def test_masses_add_up_to_one_and_satisfy_bessels_recurrence(sigma):
    width = tables.block_width(sigma)
    # Poisson summation: the sum over multiples of `width` is 1 / width, to within 2 exp(-mu (1 - cos(2 pi / width))).
    multiples = tables.masses([k * width for k in range(16 * sigma // width)], sigma, 120)
    assert abs(width * (2 * sum(multiples) - multiples[0]) - 1) < 2.0**-110
    for x in (1, sigma, 8 * sigma + 3):
        before, here, after = tables.masses([x - 1, x, x + 1], sigma, 120)
        # The difference of neighbours is x / mu of them, so it has lost that many bits.
        assert abs((before - after) * sigma**2 / (2 * x * here) - 1) < sigma * 2.0**-110


@pytest.mark.parametrize("sigma", [257, 511, 512, 2**20, 2**30 - 1, 2**40])
def test_the_table_of_blocks_matches_the_masses(sigma):
    table = tables.skellam_table(sigma)
    assert sigma / 8 < table.width <= sigma / 4
    first = tables.masses([k * table.width for k in range(len(table.starts) + 1)], sigma, 150)
    ratios = [after / here * 2**64 for here, after in pairwise(first)]
    assert all(0 < ratio - int(sure) < 4 for ratio, sure in zip(ratios, table.sure, strict=True))
    total = sum(tables.masses([k * table.width for k in range(20 * sigma // table.width)], sigma, 150))
    so_far = 0
    for start, mass in zip(table.starts, first, strict=False):
        assert abs(int(start) - so_far / total * 2**64) <= 1
        so_far += mass


@pytest.mark.parametrize("sigma", [257, 2**20 - 1])
def test_the_debye_remainder_is_within_its_bound(sigma):
    mu = sigma**2
    values = [0, sigma, 30 * sigma, mu // 2, 3 * mu]
    with mp.workprec(400):
        for x, mass in zip(values, tables.masses(values, sigma, 150), strict=True):
            w = mp.sqrt(mp.mpf(x) ** 2 + mp.mpf(mu) ** 2)
            factor = mp.mpf(mass) * mp.sqrt(2 * mp.pi * w) * mp.exp(mu - w + x * mp.asinh(mp.mpf(x) / mu))
            assert abs(factor - 1 - (3 - 5 * (x / w) ** 2) / (24 * w)) < 2 / w**2


@pytest.mark.parametrize("sigma", [257, 1023, 2**30 - 1, 2**40 - 3])
def test_the_float_margin_covers_the_real_error(sigma, monkeypatch):
    table = tables.skellam_table(sigma)
    width, blocks = table.width, len(table.sure)
    block = np.arange(blocks)
    magnitude = block * width + np.random.default_rng(0).integers(1, width, blocks)
    here, first = (tables.masses([int(x) for x in xs], sigma, 150) for xs in (magnitude, block * width))
    exact = [int(a / b * 2**64) for a, b in zip(here, first, strict=True)]
    monkeypatch.setattr(sampler, "_exact_accept", lambda *_: pytest.fail("within the margin"))
    for shift, expected in ((-1, True), (1, False)):
        words = np.array([word + shift * int(1.5 * sampler._MARGIN) for word in exact], np.uint64)
        assert (sampler._accept(words, block, magnitude, sigma, table, Words()) == expected).all()
    asked = []
    monkeypatch.setattr(sampler, "_exact_accept", lambda *arguments: asked.append(arguments) or True)
    sampler._accept(np.array(exact, np.uint64), block, magnitude, sigma, table, Words())
    assert len(asked) == blocks


@pytest.mark.parametrize("sigma", [257, 2**30])
def test_deciding_everything_exactly_draws_the_same(sigma, monkeypatch):
    usual = skellam(sigma, 200, Keystream.seeded(5))
    exactly = sampler._exact_accept
    asked = []
    monkeypatch.setattr(sampler, "_exact_accept", lambda *arguments: asked.append(1) or exactly(*arguments))
    monkeypatch.setattr(sampler, "_MARGIN", 2.0**64)
    assert np.array_equal(skellam(sigma, 200, Keystream.seeded(5)), usual)
    assert len(asked) > 10


@pytest.mark.parametrize("sigma", [4, 50, 1000])
def test_exact_entries_are_the_looked_up_ones_away_from_ties(sigma):
    words, probabilities_of = Keystream.seeded(1).words(4), partial(tables.cumulated, sigma)
    looked_up = entries_of(words, tables.skellam_table(sigma).starts, probabilities_of, Words())
    assert [entry_of(int(word), 64, probabilities_of, Words()) for word in words] == looked_up.tolist()


@pytest.mark.parametrize("sigma", [4, 257])
def test_a_word_beyond_the_table_leads_to_any_larger_value(sigma):
    entries = len(tables.skellam_table(sigma).starts)
    top = 2**64 - 1
    near = entry_of(top, 64, partial(tables.cumulated, sigma), Words(0, 0))
    far = entry_of(top, 64, partial(tables.cumulated, sigma), Words(top, 5, 5))
    assert entries - 2 <= near < far
    assert far >= entries + 3


def test_a_block_beyond_the_table_is_accepted_exactly():
    sigma, table = 257, tables.skellam_table(257)
    block = len(table.sure) + 4
    x = block * table.width + 5
    here, first = tables.masses([x, x - 5], sigma, 150)
    edge = int(here / first * 2**64)
    words = np.array([edge - 1, edge + 1], np.uint64)
    got = sampler._accept(words, np.full(2, block), np.full(2, x), sigma, table, Words())
    assert got.tolist() == [True, False]


@pytest.mark.parametrize("sigma", [257, 2**30])
def test_an_undecidable_acceptance_is_decided_by_further_bits(sigma):
    x = 2 * sigma + sigma // 9
    here, first = tables.masses([x, x - x % tables.block_width(sigma)], sigma, 200)
    exact = int(here / first * 2**128)
    word, tail = exact >> 64, exact % 2**64
    assert sampler._exact_accept(word, x, sigma, Words(tail - 1))
    assert not sampler._exact_accept(word, x, sigma, Words(tail + 1))
    assert sampler._exact_accept(word - 1, x, sigma, Words())
    assert not sampler._exact_accept(word + 1, x, sigma, Words())


def test_the_first_value_of_a_block_is_always_accepted():
    assert sampler._exact_accept(2**64 - 1, 3 * tables.block_width(1000), 1000, Words())


@pytest.mark.parametrize("sigma", [4, 256, 257, 2**30])
def test_seeded_draws_repeat_and_system_draws_do_not(sigma):
    first, again = (skellam(sigma, 300_000, Keystream.seeded(4)) for _ in range(2))
    assert np.array_equal(first, again)
    one, two = (skellam(sigma, 1000, Keystream.system()) for _ in range(2))
    assert not np.array_equal(one, two)


def test_draws_are_the_same_on_every_machine():
    # Regenerating noise that another machine added needs these very numbers; a change breaks running federations.
    assert skellam(5, 6, Keystream.seeded(0)).tolist() == [-5, 2, -4, -1, 7, 5]
    assert skellam(2**30, 3, Keystream.seeded(0)).tolist() == [-1035540006, 396208208, -924358781]


@pytest.mark.parametrize("sigma", [3, 0, -4, 2**40 + 1, 4.5, math.nan, "8"])
def test_a_sigma_out_of_range_is_refused(sigma):
    with pytest.raises(ValueError, match="sigma is .* allowed: whole numbers from 4 to 2^40".replace("^", r"\^")):
        skellam(sigma, 10, Keystream.seeded(0))


def test_no_draws_are_no_draws_and_a_numpy_sigma_is_a_sigma():
    assert skellam(5, 0, Keystream.seeded(0)).shape == (0,)
    assert skellam(1000, 0, Keystream.seeded(0)).shape == (0,)
    assert skellam(np.int64(300), 7, Keystream.seeded(0)).shape == (7,)
