"""A message is admitted once, for its own round; a refusal changes nothing and is logged without content."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.messages import ClientMessage, RoundSpec
from secagg.round_state import BelowMinimum, MessageRefused, RoundState, check_message, require_minimum
from secagg.sharing import Shares

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
            state.admit(clients)
            model.update(clients)
        else:
            with pytest.raises(MessageRefused):
                state.admit(clients)
        assert state.received == model


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"run": "other"}, "a message for round 1 attempt 0 of run other; open is round 1 attempt 0 of run run"),
        ({"round": 2}, "a message for round 2 attempt 0 of run run; open is round 1 attempt 0 of run run"),
        ({"attempt": 1}, "a message for round 1 attempt 1 of run run; open is round 1 attempt 0 of run run"),
        ({"length": 4}, "a message of length 4; this round's messages have length 3"),
        ({"bits": 63}, "a message shared in a ring of 2^63; this round's is 2^64"),
        ({"seeds": (b"s" * 32,)}, "a message with 1 seeds; 1 parties need 0"),
        ({"noise_seeds": (b"s" * 32,)}, "a message with 1 noise seeds; this round's have 0"),
    ],
    ids=str,
)
def test_a_message_that_does_not_fit_the_round_is_refused_and_logged(change, reason, caplog):
    made = {"run": "run", "round": 1, "attempt": 0, "length": 3, "bits": 64, "seeds": (), "noise_seeds": (), **change}
    shares = Shares(np.zeros(made["length"], np.int64), made["seeds"], made["bits"])
    message = ClientMessage(made["run"], made["round"], made["attempt"], (0,), shares, made["noise_seeds"])
    with caplog.at_level(logging.WARNING), pytest.raises(MessageRefused) as caught:
        check_message(message, RoundSpec("run", 1, 0, range(4), 3, 1), 1)
    assert caplog.messages == [f"refused: {reason}"] == [str(caught.value)]
    assert caught.value.reason == reason


@pytest.mark.parametrize("count", range(5))
def test_the_minimum_is_the_fewest_that_pass(count):
    spec = RoundSpec("run", 1, 0, range(4), 3, 2)
    clients = frozenset(range(count))
    if count >= 2:
        require_minimum(spec, clients)
    else:
        with pytest.raises(BelowMinimum, match=f"{count} clients are left, below n_min 2"):
            require_minimum(spec, clients)
