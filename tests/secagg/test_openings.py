"""No sum is opened twice, and no two of one model whose clients differ by few."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.messages import RoundSpec
from secagg.openings import OpeningRefused, Openings

SETS = st.frozensets(st.integers(0, 30), max_size=20)


def _spec(round_=1, attempt=0, run="a" * 32, model="m", n_min=5):
    return RoundSpec(run, round_, attempt, range(100), length=3, n_min=n_min, model=model)


def test_an_attempt_is_opened_once():
    openings = Openings()
    openings.refuse_again(_spec(3, 1))
    openings.remember(_spec(3, 1), range(10))
    with pytest.raises(OpeningRefused, match="round 3 attempt 1 of run aaaaaaaa was opened before"):
        openings.refuse_again(_spec(3, 1))


@pytest.mark.parametrize("other", [{"round_": 4}, {"attempt": 2}, {"run": "b"}])
def test_other_attempts_rounds_and_runs_are_not_mixed_up(other):
    openings = Openings()
    openings.remember(_spec(3, 1), range(10))
    openings.refuse_again(_spec(**{"round_": 3, "attempt": 1, **other}))


def test_an_attempt_without_a_model_is_opened_once_too():
    openings = Openings()
    openings.remember(_spec(model=""), range(10))
    with pytest.raises(OpeningRefused):
        openings.refuse_again(_spec(model=""))


@given(st.lists(SETS, max_size=5), SETS, st.integers(1, 12))
@settings(max_examples=200)
def test_a_set_is_refused_exactly_if_it_differs_by_few_from_an_earlier_one(earlier, clients, least):
    openings = Openings()
    for attempt, opened in enumerate(earlier):
        openings.remember(_spec(attempt=attempt), opened)
    close = any(0 < len(opened ^ clients) < least for opened in earlier)
    try:
        openings.refuse_close_sets(_spec(attempt=9), clients, least)
    except OpeningRefused:
        assert close
    else:
        assert not close


def test_the_refusal_names_the_difference_and_what_is_allowed(caplog):
    openings = Openings()
    openings.remember(_spec(2), range(10))
    with caplog.at_level(logging.WARNING), pytest.raises(OpeningRefused, match="differ by 3 .* at least 7") as refusal:
        openings.refuse_close_sets(_spec(2, 1), range(1, 12), 7)
    assert str(refusal.value) in caplog.text


def test_without_a_rule_of_its_own_the_rounds_n_min_is_the_smallest_difference():
    openings = Openings()
    openings.remember(_spec(), range(10))
    with pytest.raises(OpeningRefused, match="differ by 4 .* at least 5"):
        openings.refuse_close_sets(_spec(2), range(14))
    openings.refuse_close_sets(_spec(2), range(15))
    openings.refuse_close_sets(_spec(2, n_min=4), range(14))


def test_equal_sets_may_be_opened_again_in_any_form():
    openings = Openings()
    openings.remember(_spec(), range(10))
    for same in (range(10), range(9, -1, -1), frozenset(range(10)), tuple(reversed(range(10)))):
        openings.refuse_close_sets(_spec(2), same, 100)


@pytest.mark.parametrize("other", [{"model": "n"}, {"run": "b"}, {"model": ""}])
def test_other_models_other_runs_and_rounds_that_name_none_are_not_compared(other):
    openings = Openings()
    openings.remember(_spec(), range(10))
    openings.refuse_close_sets(_spec(2, **other), range(11))


def test_rounds_that_name_no_model_are_not_compared_with_each_other():
    openings = Openings()
    openings.remember(_spec(model=""), range(10))
    openings.refuse_close_sets(_spec(2, model=""), range(11))


def test_a_run_and_a_model_are_told_apart_wherever_one_ends():
    openings = Openings()
    openings.remember(_spec(run="ab", model="c"), range(10))
    openings.refuse_close_sets(_spec(run="a", model="bc"), range(11))


def test_the_largest_ids_are_compared():
    openings = Openings()
    openings.remember(_spec(), range(2**63 - 5, 2**63))
    with pytest.raises(OpeningRefused, match="differ by 1 "):
        openings.refuse_close_sets(_spec(2), frozenset(range(2**63 - 5, 2**63 - 1)))


def test_of_a_model_whose_ids_are_gone_only_the_same_clients_are_opened():
    openings = Openings(kept_ids=25)
    for number in range(4):
        openings.remember(_spec(number, model=f"m{number}"), range(10))
    openings.refuse_close_sets(_spec(9, model="m0"), range(10))
    for clients in (range(11), range(10, 90)):
        with pytest.raises(OpeningRefused, match="exactly the same clients"):
            openings.refuse_close_sets(_spec(9, model="m0"), clients)
    openings.refuse_close_sets(_spec(9, model="m3"), range(10, 90))


def test_an_old_models_clients_are_known_again_once_they_are_opened_again():
    openings = Openings(kept_ids=25)
    for number in (0, 1, 2, 3, 0):
        openings.remember(_spec(number, model=f"m{number}"), range(10))
    openings.refuse_close_sets(_spec(9, model="m0"), range(10, 90))
    with pytest.raises(OpeningRefused, match="differ by 1 "):
        openings.refuse_close_sets(_spec(9, model="m0"), range(11))


def test_the_newest_clients_are_kept_even_if_they_alone_are_too_many():
    openings = Openings(kept_ids=5)
    openings.remember(_spec(1, model="old"), range(4))
    openings.remember(_spec(2), range(50))
    openings.refuse_close_sets(_spec(3), range(60))
    with pytest.raises(OpeningRefused, match="exactly the same clients"):
        openings.refuse_close_sets(_spec(3, model="old"), range(60))


def test_openings_of_the_same_clients_cost_their_ids_once():
    openings = Openings(kept_ids=25)
    openings.remember(_spec(0, model="first"), range(10))
    for attempt in range(20):
        openings.remember(_spec(1, attempt), range(10))
    openings.refuse_close_sets(_spec(2, model="first"), range(50))
