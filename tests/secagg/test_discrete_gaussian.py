"""The discrete Gaussian is exact: against its probabilities, against OpenDP, and where float64 cannot decide."""

from __future__ import annotations

import numpy as np
import pytest
from mpmath import mp
from scipy import stats

from bench.suites.bench_samplers import opendp_discrete_gaussian
from secagg import discrete_gaussian as sampler
from secagg.discrete_gaussian import discrete_gaussian
from secagg.gaussian_table import UNDECIDED, block_width, cumulated, gaussian_table, ratio
from secagg.randomness import Keystream
from tests.secagg.given_words import Words


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


@pytest.mark.parametrize("sigma", [1, 2, 4, 13, 16, 17, 31, 32, 100, 1000])
def test_draws_follow_the_exact_probabilities(sigma):
    size, reach = 1_000_000, 12 * sigma
    draws = discrete_gaussian(sigma, size, Keystream.seeded(sigma))
    assert draws.dtype == np.int64
    assert np.abs(draws).max() <= reach
    observed = np.bincount(draws + reach, minlength=2 * reach + 1)
    assert chi_square(observed, probabilities(sigma, reach) * size) > 1e-3


@pytest.mark.parametrize("sigma", [4, 16, 17, 1024, 20724, 10**6, 2**30, 2**35, 2**36, 2**40])
def test_variance_symmetry_and_kurtosis_hold_at_every_size_of_sigma(sigma):
    draws = discrete_gaussian(sigma, 1_000_000, Keystream.seeded(sigma + 1)) / sigma
    # Four and a half standard deviations of each estimate.
    assert abs(draws.mean()) < 0.0045
    assert abs(draws.var() - 1) < 0.0065
    assert abs(stats.skew(draws)) < 0.011
    assert abs(stats.kurtosis(draws)) < 0.023


@pytest.mark.parametrize("sigma", [1024, 2**30, 2**36 - 1, 2**40])
def test_large_sigma_is_normal_in_shape_with_uniform_low_digits(sigma):
    draws = discrete_gaussian(sigma, 1_000_000, Keystream.seeded(8))
    # Whole numbers against a continuous shape: edges lie halfway between them.
    edges = np.rint(np.linspace(-5, 5, 401) * sigma) + 0.5
    observed = np.histogram(draws, np.concatenate([[-np.inf], edges, [np.inf]]))[0]
    expected = np.diff(np.concatenate([[0], stats.norm.cdf(edges / sigma), [1]])) * len(draws)
    assert chi_square(observed, expected) > 1e-3
    assert stats.chisquare(np.bincount(draws % 64, minlength=64)).pvalue > 1e-3


def test_equals_opendps_vetted_sampler_in_distribution():
    ours = discrete_gaussian(20, 20_000, Keystream.system())
    theirs = opendp_discrete_gaussian(20.0, 20_000)
    edges = np.concatenate([[-np.inf], np.arange(-40, 41, 5) - 0.5, [np.inf]])
    table = [np.histogram(x, edges)[0] for x in (ours, theirs)]
    # System randomness: this threshold fails by chance once in a million runs.
    assert stats.chi2_contingency(table).pvalue > 1e-6


@pytest.mark.parametrize("sigma", [10, 50, 2**36])
def test_seeded_draws_repeat_and_system_draws_do_not(sigma):
    first, again = (discrete_gaussian(sigma, 70_000, Keystream.seeded(4)) for _ in range(2))
    assert np.array_equal(first, again)
    one, two = (discrete_gaussian(sigma, 1000, Keystream.system()) for _ in range(2))
    assert not np.array_equal(one, two)


def test_draws_are_the_same_on_every_machine():
    # Regenerating noise that another machine added needs these very numbers; a change breaks running federations.
    assert discrete_gaussian(5, 6, Keystream.seeded(0)).tolist() == [4, 4, 4, -5, 1, -10]
    assert discrete_gaussian(1000, 6, Keystream.seeded(0)).tolist() == [-883, -755, -797, 925, 198, -2094]
    assert discrete_gaussian(2**36, 3, Keystream.seeded(0)).tolist() == [-58119889795, -58976946099, 59825999837]


@pytest.mark.parametrize("sigma", [3, 16, 17, 2**20, 2**40])
def test_entries_by_16_bits_are_those_of_every_number_with_these_bits(sigma):
    table = gaussian_table(sigma)
    prefixes = np.arange(2**16, dtype=np.uint64)
    decided = table.quick != UNDECIDED
    assert 0.95 < decided.mean() < 1
    for word in (prefixes << np.uint64(48), (prefixes << np.uint64(48)) + np.uint64(2**48 - 1)):
        # Not through `entries_of`, which asks for further bits near an end of the table's.
        entry = np.searchsorted(table.starts, word, side="right") - 1
        assert np.array_equal(entry[decided], table.quick[decided])


@pytest.mark.parametrize("sigma", [4, 1000])
def test_undecided_leading_bits_are_decided_by_further_ones(sigma):
    table = gaussian_table(sigma)
    end = cumulated(sigma, 64)[1]
    prefix = np.array([end >> 48], np.uint16)
    assert table.quick[prefix[0]] == UNDECIDED
    # 48 bits of the word that follows: just below the end, just above it.
    for offset, entry in ((-3, 1), (3, 2)):
        word = ((end + offset) % 2**48) << 16
        assert sampler._draw_entry(prefix, sigma, table, Words(word)).tolist() == [entry]


def edge(x, sigma, bits):
    """2^bits f(x) / f(first of the block), by another route."""
    with mp.workprec(bits + 200):
        first = x - x % block_width(sigma)
        exponents = [-(mp.mpf(value) ** 2) / (2 * mp.mpf(sigma) ** 2) for value in (x, first)]
        return int(mp.floor(mp.exp(exponents[0] - exponents[1]) * 2**bits))


@pytest.mark.parametrize("sigma", [17, 1023, 2**30 - 1, 2**40 - 3])
def test_the_float_margin_covers_the_real_error(sigma, monkeypatch):
    table = gaussian_table(sigma)
    blocks = len(table.starts)
    block = np.arange(blocks)
    width = 1 << table.shift
    magnitude = block * width + np.random.default_rng(0).integers(1, width, blocks)
    for x in magnitude.tolist():
        j = np.float64(x % width)
        got = np.exp((j / sigma) * ((2 * x - j) / sigma) * -0.5) * 2.0**32
        assert abs(mp.mpf(float(got)) - mp.ldexp(edge(x, sigma, 100), -68)) < sampler._MARGIN / 8
    exact = [edge(x, sigma, 32) for x in magnitude.tolist()]
    monkeypatch.setattr(sampler, "_exact_accept", lambda *_: pytest.fail("within the margin"))
    for shift, expected in ((-2, True), (2, False)):
        words = np.array([min(word + shift, 2**32 - 1) for word in exact], np.uint32)
        decidable = words == np.array(exact) + shift  # an edge in the last words has none above
        got = sampler._accept(words[decidable], block[decidable], magnitude[decidable], sigma, table, Words())
        assert (got == expected).all()
    asked = []
    monkeypatch.setattr(sampler, "_exact_accept", lambda *arguments: asked.append(arguments) or True)
    sampler._accept(np.array(exact, np.uint32), block, magnitude, sigma, table, Words())
    assert len(asked) == blocks


@pytest.mark.parametrize("sigma", [17, 2**30])
def test_deciding_everything_exactly_draws_the_same(sigma, monkeypatch):
    usual = discrete_gaussian(sigma, 300, Keystream.seeded(5))
    exactly = sampler._exact_accept
    asked = []
    monkeypatch.setattr(sampler, "_exact_accept", lambda *arguments: asked.append(1) or exactly(*arguments))
    monkeypatch.setattr(sampler, "_MARGIN", 2.0**34)
    assert np.array_equal(discrete_gaussian(sigma, 300, Keystream.seeded(5)), usual)
    assert len(asked) > 10


@pytest.mark.parametrize("sigma", [17, 2**30])
def test_an_undecidable_acceptance_is_decided_by_further_bits(sigma):
    x = 2 * sigma + sigma // 17
    assert x % block_width(sigma)
    exact = edge(x, sigma, 96)
    word, tail = exact >> 64, exact % 2**64
    assert sampler._exact_accept(word, x, sigma, Words(tail - 1))
    assert not sampler._exact_accept(word, x, sigma, Words(tail + 1))
    assert sampler._exact_accept(word - 1, x, sigma, Words())
    assert not sampler._exact_accept(word + 1, x, sigma, Words())


def test_the_first_value_of_a_block_is_always_accepted():
    assert sampler._exact_accept(2**32 - 1, 3 * block_width(1000), 1000, Words())
    block = np.array([0, 1, 5])
    got = sampler._accept(
        np.full(3, 2**32 - 1, np.uint32), block, block * block_width(1000), 1000, gaussian_table(1000), Words()
    )
    assert got.all()


def test_a_block_beyond_the_table_is_accepted_with_its_probability():
    sigma, table = 1000, gaussian_table(1000)
    x = (len(table.starts) + 3) * block_width(sigma) + 7
    block, edge_word = x >> table.shift, ratio(x, sigma, 32)
    words = np.array([edge_word - 2, edge_word + 2], np.uint32)
    assert sampler._accept(words, np.full(2, block), np.full(2, x), sigma, table, Words()).tolist() == [True, False]


def test_negative_zeros_are_rejected():
    class Zeros:
        """A stream whose every candidate is the zero of block 0, every second one with a sign."""

        def __init__(self, count):
            signed = np.zeros(count, "<u4")
            signed[::2] = 1 << 31
            self.answers = [bytes(2 * count), signed.tobytes(), bytes(4 * count)]

        def take(self, count):
            answer = self.answers.pop(0)
            assert len(answer) == count
            return answer

    candidates = 100 + 100 // 15 + 10 + 16
    drawn = sampler._candidates(1000, gaussian_table(1000), 100, Zeros(candidates))
    assert drawn.tolist() == [0] * (candidates // 2)


@pytest.mark.parametrize("sigma", [0, -3, 2**41, 2.5, float("nan"), "4"])
def test_a_sigma_out_of_range_is_refused(sigma):
    with pytest.raises(ValueError, match="sigma is .* allowed: whole numbers from 1 to 2.40"):
        discrete_gaussian(sigma, 10, Keystream.seeded(0))


def test_no_draws_are_no_draws_and_a_numpy_sigma_is_a_sigma():
    assert discrete_gaussian(5, 0, Keystream.seeded(0)).shape == (0,)
    assert discrete_gaussian(1000, 0, Keystream.seeded(0)).shape == (0,)
    assert discrete_gaussian(np.int64(300), 7, Keystream.seeded(0)).shape == (7,)
