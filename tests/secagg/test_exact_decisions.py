"""Comparisons of random numbers with reals: right wherever a word decides, and further bits where it does not."""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from itertools import accumulate, count

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.exact_decisions import below, entries_of, entry_of
from secagg.randomness import Keystream
from tests.secagg.given_words import Words


def geometric(bits: int) -> list[int]:
    """2^bits P(K <= k) for P(K = k) = 2/3 3^-k, until the rest is below 1."""
    ends = (2**bits - 2**bits // 3 ** (k + 1) for k in count())
    found = []
    for end in ends:
        found.append(end)
        if 2**bits - end <= 1:
            return found


STARTS = np.array([0, *geometric(64)[:-1]], np.uint64)


def exact_entry(number: Fraction) -> int:
    """The k with 1 - 3^-k <= number < 1 - 3^-(k+1)."""
    return next(k for k in count() if number < 1 - Fraction(1, 3 ** (k + 1)))


@given(st.integers(0, 2**64 - 1))
def test_a_word_away_from_the_ends_is_looked_up(word):
    numbers = [Fraction(value, 2**64) for value in (word, word + 1)]
    if exact_entry(numbers[0]) == exact_entry(numbers[1] - Fraction(1, 2**64 * 2**9)) and all(
        abs(number - (1 - Fraction(1, 3**k))) > Fraction(4, 2**64) for number in numbers for k in range(42)
    ):
        got = entries_of(np.array([word], np.uint64), STARTS, geometric, Words())
        assert got.tolist() == [exact_entry(numbers[0])]


@pytest.mark.parametrize("entry", [0, 1, 7, 30])
@pytest.mark.parametrize(("next_word", "above"), [(0, 0), (2**64 - 1, 1)])
def test_a_tie_is_decided_by_further_bits(entry, next_word, above):
    tie = geometric(128)[entry] >> 64
    got = entries_of(np.array([tie], np.uint64), STARTS, geometric, Words(next_word))
    assert got.tolist() == [entry + above]


def test_a_tie_of_further_bits_asks_again():
    end = geometric(192)[2]
    first, second, third = end >> 128, end >> 64 & 2**64 - 1, end & 2**64 - 1
    assert entry_of(first, 64, geometric, Words(second, third - 9)) == 2
    assert entry_of(first, 64, geometric, Words(second, third + 9)) == 3


def test_a_number_may_lie_beyond_every_table():
    last = len(geometric(64)) - 1
    assert entry_of(2**64 - 1, 64, geometric, Words(2**64 - 1, 0)) > last


@pytest.mark.parametrize("bits", [16, 32, 64])
@given(numerator=st.integers(1, 10**6), seed=st.integers(0, 2**32))
def test_below_agrees_with_the_whole_number(bits, numerator, seed):
    real = Fraction(numerator, 10**6 + 3)  # no binary fraction
    # A number that begins as the real one does, so that further bits decide; they are the stream's next words.
    value = int(real * 2**bits)
    tail = Keystream.seeded(seed).words(4).tolist()
    number = Fraction(value, 2**bits) + sum(
        (Fraction(word, 2 ** (bits + 64 * k)) for k, word in enumerate(tail, 1)), Fraction(0)
    )
    got = below(value, bits, lambda n: int(real * 2**n), Keystream.seeded(seed))
    assert got == (number < real)


def test_below_needs_no_further_bits_where_the_first_ones_decide():
    third = partial(lambda n: 2**n // 3)
    assert below(2**32 // 3 - 1, 32, third, Words())
    assert not below(2**32 // 3 + 1, 32, third, Words())


def test_words_of_a_uniform_stream_give_the_distribution():
    words = Keystream.seeded(1).words(100_000)
    got = np.bincount(entries_of(words, STARTS, geometric, Keystream.seeded(2)))
    for k, so_far in enumerate(accumulate(got[:5].tolist())):
        assert abs(so_far / len(words) - (1 - 3.0 ** -(k + 1))) < 0.006
