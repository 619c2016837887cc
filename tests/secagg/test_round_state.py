"""A message is admitted once, for its own round; a refusal changes nothing and is logged without content."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.messages import RoundSpec
from secagg.round_state import BelowMinimum, MessageRefused, RoundState

ids = st.lists(st.integers(0, 9), max_size=4).map(tuple)


@given(st.lists(ids, max_size=12), st.integers(1, 8))
def test_what_is_received_is_the_union_of_the_messages_that_fit(messages, population):
    state = RoundState(RoundSpec("run", 1, 0, range(population), 3, 1))
    model: set[int] = set()
    for clients in messages:
        fits = (
            bool(clients)
            and len(set(clients)) == len(clients)
            and max(clients) < population
            and not model.intersection(clients)
        )
        if fits:
            state.admit("run", 1, 0, clients, 3)
            model.update(clients)
        else:
            with pytest.raises(MessageRefused):
                state.admit("run", 1, 0, clients, 3)
        assert state.received == model


@pytest.mark.parametrize(
    ("run", "round_", "attempt", "length"), [("other", 1, 0, 3), ("run", 2, 0, 3), ("run", 1, 1, 3), ("run", 1, 0, 4)]
)
def test_another_opening_or_length_is_refused_and_logged(run, round_, attempt, length, caplog):
    state = RoundState(RoundSpec("run", 1, 0, range(4), 3, 1))
    with caplog.at_level(logging.WARNING), pytest.raises(MessageRefused) as caught:
        state.admit(run, round_, attempt, (0,), length)
    assert caplog.messages
    assert str(caught.value).startswith("refused: ")
    assert not state.received


@pytest.mark.parametrize("count", range(5))
def test_the_minimum_is_the_fewest_that_pass(count):
    state = RoundState(RoundSpec("run", 1, 0, range(4), 3, 2))
    clients = frozenset(range(count))
    if count >= 2:
        state.require_minimum(clients)
    else:
        with pytest.raises(BelowMinimum, match=f"{count} clients are left, below n_min 2"):
            state.require_minimum(clients)
