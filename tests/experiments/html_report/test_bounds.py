"""Bounds on odds, guesses and finds are those of (epsilon, delta), and no more is promised."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.html_report.bounds import FALSE_ALARMS, bounds, factor
from experiments.html_report.epsilon_section import _chance


def least_missed(alarms, epsilon, delta):
    """The trade-off function of (epsilon, delta) (Wasserman and Zhou 2010; Dong, Roth and Su 2022, proposition 3)."""
    return max(0.0, 1 - delta - math.exp(epsilon) * alarms, math.exp(-epsilon) * (1 - delta - alarms))


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.5, 1.0, 2.0, 4.0, 8.0])
@pytest.mark.parametrize("delta", [0.0, 1e-5, 1e-2])
def test_they_are_the_best_of_all_tests_that_the_guarantee_allows(epsilon, delta):
    found = bounds(epsilon, delta)
    best = max(1 - (a + least_missed(a, epsilon, delta)) / 2 for a in (i / 20_000 for i in range(20_001)))
    assert found.guess == pytest.approx(best, abs=1e-4)
    assert found.guess >= best - 1e-12
    assert found.find == pytest.approx(1 - least_missed(FALSE_ALARMS, epsilon, delta), abs=1e-12)
    assert math.exp(found.odds) == pytest.approx(math.exp(epsilon))


def test_randomised_response_reaches_the_bound():
    # Answering the truth with chance e^eps / (1 + e^eps) is epsilon-private and guessed right as often.
    assert bounds(math.log(3), 0.0).guess == pytest.approx(0.75)


@given(st.floats(0, 1e9), st.floats(0, 0.1))
def test_chances_stay_chances_however_large_epsilon_is(epsilon, delta):
    found = bounds(epsilon, delta)
    assert 0.5 <= found.guess <= 1
    assert FALSE_ALARMS <= found.find <= 1


def test_an_epsilon_that_promises_nothing_is_called_so():
    assert bounds(2.0, 1e-5).useful
    assert bounds(8.0, 1e-5).useful
    assert not bounds(12.0, 1e-5).useful


@pytest.mark.parametrize(
    ("epsilon", "written"),
    [(0.5, "1.65"), (2, "7.39"), (8, "2,981"), (20, "10^9"), (143.757, "10^62"), (1e6, "10^434,294")],
)
def test_factors_are_written_for_a_sentence(epsilon, written):
    assert factor(epsilon) == written


@pytest.mark.parametrize(
    ("chance", "written"),
    [(0.5, "50%"), (0.8808, "89%"), (0.982, "98.2%"), (0.99966, "99.97%"), (0.0166, "1.7%"), (1, "100.00%")],
)
def test_bounds_are_rounded_up(chance, written):
    assert _chance(chance) == written
