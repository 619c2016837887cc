"""Unigram and bigram perplexities against a slow implementation from dictionaries."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.language.ngrams import bigram_perplexity, unigram_perplexity

VOCABULARY = 5
STREAMS = st.lists(st.integers(0, VOCABULARY - 1), min_size=2, max_size=40)


def slow_bigram(train, vocabulary):
    """P(w | v) of interpolated Kneser-Ney with discount 3/4, counted one pair at a time."""
    pairs = Counter(pairwise(train))
    contexts = {w: {v for v, other in pairs if other == w} for w in range(vocabulary)}
    everything = sum(len(before) + 1 for before in contexts.values())

    def probability(w, v):
        continuation = (len(contexts[w]) + 1) / everything
        total = sum(count for (first, _), count in pairs.items() if first == v)
        if total == 0:
            return continuation
        different = sum(1 for first, _ in pairs if first == v)
        return max(pairs[v, w] - 0.75, 0) / total + 0.75 * different / total * continuation

    return probability


def slow_perplexity(probabilities):
    return math.exp(-sum(map(math.log, probabilities)) / len(probabilities))


def array(tokens):
    return np.array(tokens, np.int32)


@given(STREAMS, STREAMS)
def test_the_bigram_perplexity_is_that_of_the_formula(train, test):
    probability = slow_bigram(train, VOCABULARY)
    expected = slow_perplexity([probability(w, v) for v, w in pairwise(test)])
    assert bigram_perplexity(array(train), array(test), VOCABULARY) == pytest.approx(expected, rel=1e-12)


@given(STREAMS)
def test_the_formulas_probabilities_sum_to_one_after_every_token(train):
    probability = slow_bigram(train, VOCABULARY)
    for v in range(VOCABULARY):
        assert sum(probability(w, v) for w in range(VOCABULARY)) == pytest.approx(1, rel=1e-12)


@given(STREAMS, STREAMS)
def test_the_unigram_perplexity_is_that_of_add_one_frequencies(train, test):
    expected = slow_perplexity([(train.count(w) + 1) / (len(train) + VOCABULARY) for w in test[1:]])
    assert unigram_perplexity(array(train), array(test), VOCABULARY) == pytest.approx(expected, rel=1e-12)


def test_a_cycle_is_certain_to_a_bigram_and_uniform_to_a_unigram():
    cycle = array(list(range(4)) * 2000)
    assert bigram_perplexity(cycle, cycle, 4) == pytest.approx(1, abs=1e-3)
    assert unigram_perplexity(cycle, cycle, 4) == pytest.approx(4, abs=1e-3)


def test_pairs_of_a_large_vocabulary_do_not_overflow():
    vocabulary = 60_000  # its square is no 32-bit integer
    cycle = array([vocabulary - 2, vocabulary - 1] * 5000)
    assert bigram_perplexity(cycle, cycle, vocabulary) == pytest.approx(1, abs=1e-2)
