"""Areas, rates and bounds are the textbook's, and an accusation is as rare as it says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr, ndtri
from sklearn.metrics import roc_auc_score

from bench.membership.rows import FPR
from bench.membership.scores import (
    _chance,
    above,
    allowed,
    allowed_by_all,
    attacked,
    best_guess,
    epsilons_of,
    exceeded,
    roc,
)
from fl_core.privacy.rdp import ORDERS
from secagg.errors import SottoError


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=40))
def test_the_area_is_scikit_learns_ties_included(pairs):
    scores, inside = (np.array(column) for column in zip(*pairs, strict=True))
    if inside.all() or not inside.any():
        return
    fpr, tpr = roc(scores.astype(float), inside)
    assert np.trapezoid(tpr, fpr) == pytest.approx(roc_auc_score(inside, scores))
    twice = roc(np.repeat(scores, 2).astype(float), np.repeat(inside, 2))
    weighted = roc(scores.astype(float), inside, np.full(len(scores), 2.0))
    assert np.allclose(twice, weighted)


def test_an_attack_says_what_it_cannot_see():
    generator = np.random.default_rng(0)
    inside = np.arange(400) % 2 == 0
    found = attacked(generator.normal(size=400) + 2 * inside, inside, np.arange(400), 1e-5)
    assert found.auc == pytest.approx(ndtr(2 / math.sqrt(2)), abs=0.04)
    assert found.auc_ci[0] < found.auc < found.auc_ci[1]
    assert found.tpr["0.01"] == pytest.approx(ndtr(2 + ndtri(0.01)), abs=0.15)
    assert found.tpr["0.001"] is None
    assert found.tpr_ci["0.001"] is None
    assert 0 < found.epsilon_shown < 10.6  # what a Gaussian mechanism with mu 2 has at this delta
    assert attacked(generator.normal(size=400), inside, np.arange(400)).epsilon_shown is None


def test_few_users_are_resampled_until_there_are_both_and_one_kind_alone_is_a_sentence():
    found = attacked(np.arange(4.0), np.array([True, False, False, False]), np.arange(4))
    assert np.isfinite([found.auc, *found.auc_ci, *found.null_ci]).all()
    with pytest.raises(SottoError, match="4 of 4 candidates are members; allowed: some and not all"):
        attacked(np.arange(4.0), np.ones(4, bool), np.arange(4))


@given(st.floats(0, 12), st.floats(0, 0.1))
def test_a_bound_is_met_by_randomised_response_and_kept_by_guessing(epsilon, delta):
    at = 1 / (1 + math.exp(epsilon))  # the false-positive rate of epsilon-DP randomised response
    assert allowed(np.array([at]), epsilon, 0.0)[0] == pytest.approx(1 - at)
    bound = allowed(FPR, epsilon, delta)
    assert (bound >= FPR - 1e-12).all()
    assert (np.diff(bound) >= -1e-12).all()
    assert allowed(np.array([0.0]), epsilon, delta)[0] == pytest.approx(delta)
    fine = np.linspace(0, 1, 100_001)
    closed = (1 + (math.exp(epsilon) - 1) / (math.exp(epsilon) + 1)) / 2
    assert best_guess(fine, allowed(fine, epsilon, 0.0)) == pytest.approx(closed, abs=1e-4)


@pytest.mark.parametrize("z", [0.5, 1.0, 3.0])
def test_the_ledgers_curve_is_above_the_exact_one_of_a_gaussian_mechanism_and_not_far(z):
    bound = allowed_by_all(FPR, epsilons_of(ORDERS / (2 * z**2)))
    exact = ndtr(ndtri(FPR) + 1 / z)
    assert (bound >= exact - 1e-9).all()
    assert bound[np.searchsorted(FPR, 0.01)] < min(1, 6 * ndtr(ndtri(0.01) + 1 / z))
    assert (allowed_by_all(FPR, epsilons_of(np.full(len(ORDERS), np.inf))) == 1).all()


def responses(generator, m, epsilon):
    """Randomised response: each coin told rightly with the probability that epsilon allows; scores are distinct."""
    inside = generator.random(m) < 0.5
    told = np.where(generator.random(m) < 1 / (1 + math.exp(-epsilon)), inside, ~inside)
    return told + 0.1 * generator.random(m), inside


def test_what_keeps_to_its_epsilon_is_accused_no_more_often_than_was_said():
    generator = np.random.default_rng(5)
    accused = sum(bool(exceeded(*responses(generator, 300, 1.0), 1.0, 0.0)) for _ in range(150))
    assert accused <= 7  # 1.5 expected at most; more than 7 has probability 2e-4


def test_what_has_twice_its_epsilon_is_accused():
    generator = np.random.default_rng(6)
    found = [exceeded(*responses(generator, 2000, 2.0), 1.0, 1e-5) for _ in range(5)]
    assert all({"member", "no member"} == {one["guess"] for one in some} for some in found)


def normal_scores(generator, m, z):
    """Scores of a Gaussian mechanism with sensitivity 1 and deviation `z`, each candidate with noise of its own."""
    inside = generator.random(m) < 0.5
    return generator.normal(size=m) + inside / z, inside


def test_a_curve_is_above_its_ledgers_only_if_there_was_less_noise():
    generator = np.random.default_rng(7)
    pairs = epsilons_of(ORDERS / 2)  # of z = 1: epsilon 4.7 at 1e-5
    assert not any(above(*normal_scores(generator, 1000, 1.0), pairs) for _ in range(40))
    found = [above(*normal_scores(generator, 1000, 0.3), pairs) for _ in range(5)]
    assert all({"member", "no member"} == {one["guess"] for one in some} for some in found)
    assert all(one["least"] > one["bound"] > one["most"] for some in found for one in some)
    assert not exceeded(*normal_scores(generator, 1000, 0.3), 4.7, 1e-5)  # which is why there are both


def test_the_probability_is_the_binomials_tail_and_grows_with_delta():
    assert _chance(100, 10, 10, math.log(3), 0.0) == pytest.approx(0.75**10)
    assert _chance(100, 10, 0, 1.0, 0.1) == 1.0
    assert _chance(100, 10, 10, math.log(3), 1e-5) > 0.75**10
    # Alpha by hand: the largest of P(10 - i <= X < 10) / i, X binomial of 10 with 1/2.
    alpha = max(sum(math.comb(10, x) for x in range(10 - i, 10)) / 1024 / i for i in range(1, 11))
    assert _chance(100, 10, 10, 0.0, 1e-3) == pytest.approx(2**-10 + 2 * 100 * 1e-3 * alpha)
