"""The audit's bound is right as often as it says, finds what leaks too much, and knows chance when it sees it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fl_core.privacy.events import PrivacyError
from fl_core.privacy.one_run_audit import audit_one_run, gaussian_epsilon, largest_refuted_mu

DELTA = 1e-5


def gaussian_canaries(mu, seed, canaries=2000):
    draw = np.random.default_rng(seed)
    included = draw.random(canaries) < 0.5
    return draw.normal(size=canaries) + mu * included, included


@pytest.mark.parametrize("mu", [0.0, 0.2, 1.0, 3.0])
@pytest.mark.parametrize("guesses", [40, 500, 2000])
def test_the_bound_is_above_the_truth_no_more_often_than_it_says(mu, guesses):
    found = [audit_one_run(*gaussian_canaries(mu, seed), DELTA, guesses, confidence=0.8).mu for seed in range(60)]
    wrong = sum(bound > mu for bound in found)
    # A fifth at most; more than 24 of 60 would happen by chance once in 5,000.
    assert stats.binom.sf(24, 60, 0.2) < 2e-4
    assert wrong <= 24


@pytest.mark.parametrize(("mu", "least", "most"), [(1.0, 0.4, 1.0), (math.sqrt(10), 1.6, math.sqrt(10))])
def test_two_thousand_canaries_bound_gaussian_noise_as_published_figures_do(mu, least, most):
    for seed in range(5):
        assert least < audit_one_run(*gaussian_canaries(mu, seed), DELTA).mu <= most


def test_epsilon_is_that_of_the_gaussian_mechanism():
    # Balle and Wang 2018, equation 6, evaluated here.
    for mu in (0.3, 1.0, 4.0):
        epsilon = gaussian_epsilon(mu, DELTA)
        norm = stats.norm
        delta = norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * norm.cdf(-mu / 2 - epsilon / mu)
        assert delta == pytest.approx(DELTA, rel=1e-6)
    assert gaussian_epsilon(0.0, DELTA) == 0.0


@given(st.integers(2, 300), st.integers(2, 300), st.floats(0, 1), st.floats(0.001, 0.5))
def test_what_coins_alone_do_often_enough_refutes_nothing(canaries, guesses, share, significance):
    guesses = min(guesses, canaries)
    correct = round(share * guesses)
    if stats.binom.sf(correct - 1, guesses, 0.5) > significance:
        assert largest_refuted_mu(canaries, guesses, correct, significance) == 0.0


@given(st.integers(10, 400), st.floats(0.6, 0.99), st.floats(0.01, 0.2))
def test_more_correct_guesses_and_less_confidence_never_lower_the_bound(guesses, share, significance):
    correct = round(share * guesses)
    here = largest_refuted_mu(400, guesses, correct, significance)
    assert largest_refuted_mu(400, guesses, min(guesses, correct + 1), significance) >= here - 1e-6
    assert largest_refuted_mu(400, guesses, correct, min(0.9, 2 * significance)) >= here - 1e-6


def test_all_correct_of_many_is_a_large_but_finite_bound():
    bound = largest_refuted_mu(2000, 500, 500, 0.05)
    assert 1.5 < bound < 10


def test_scores_that_say_nothing_bound_nothing():
    included = np.random.default_rng(0).random(2000) < 0.5
    audit = audit_one_run(np.random.default_rng(1).normal(size=2000), included, DELTA)
    assert (audit.mu, audit.epsilon, audit.guesses) == (0.0, 0.0, 500)
    upside_down = audit_one_run(-included.astype(float), included, DELTA)
    assert upside_down.correct == 0
    assert upside_down.epsilon == 0.0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"scores": np.zeros(3)}, "a score and a coin for each"),
        ({"included": np.zeros(10, dtype=np.int64)}, "int64"),
        ({"scores": np.zeros(1), "included": np.zeros(1, bool)}, "2 or more canaries"),
        ({"guesses": 1}, "1 guesses"),
        ({"guesses": 11}, "allowed: 2 to 10 guesses"),
        ({"confidence": 1.0}, "confidence 1.0"),
        ({"delta": 0.0}, "delta"),
    ],
)
def test_what_cannot_be_is_refused(change, sentence):
    arguments = {"scores": np.zeros(10), "included": np.zeros(10, bool), "delta": DELTA, **change}
    with pytest.raises(PrivacyError, match=sentence):
        audit_one_run(**arguments)
