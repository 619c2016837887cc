"""Time left: from this session's steps, without the first, in words that a person reads at a glance."""

from __future__ import annotations

import pytest

from experiments.time_left import TimeLeft, in_words


def test_it_is_the_mean_of_the_steps_after_the_first_times_those_that_are_left():
    now = [0.0]
    left = TimeLeft(10, lambda: now[0])
    now[0] = 100.0  # the first step loads and prepares
    assert left.after(1) is None
    now[0] = 102.0
    assert left.after(2) == pytest.approx(2 * 8)
    now[0] = 108.0
    assert left.after(5) == pytest.approx(2 * 5)
    assert left.after(10) == 0.0


def test_a_resumed_run_counts_only_what_it_did_itself():
    now = [0.0]
    left = TimeLeft(100, lambda: now[0])
    assert left.after(91) is None
    now[0] = 3.0
    assert left.after(92) == pytest.approx(3 * 8)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 s"),
        (99.0, "99 s"),
        (100.5, "2 min"),
        (3540.0, "59 min"),
        (3541.0, "1 h 0 min"),
        (12_000.0, "3 h 20 min"),
    ],
)
def test_times_are_in_words_and_rounded_up(seconds, words):
    assert in_words(seconds) == words
