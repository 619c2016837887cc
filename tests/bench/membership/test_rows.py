"""Where there is nothing to find nothing is found, unless coins and losses are tied."""

from __future__ import annotations

import numpy as np

from bench.membership.design import Arm
from bench.membership.rows import Repetition, null_row
from tests.bench.membership.made_up import repetition


def test_the_null_rows_hold_for_a_memorised_model_and_fail_where_coins_and_losses_are_tied():
    inside = np.random.default_rng(1).random(100) < 0.5
    arm = Arm("free", "example", None, 0.1)
    fine = null_row(arm, [repetition(np.where(inside, 3.0, 0.1), inside)])
    assert fine["violations"] == []
    assert fine["tried"] == 2
    tied = repetition(np.zeros(100), inside)
    biased = Repetition(0, tied.candidates, tied.before - 3 * inside, tied.after, {}, None)  # members are easier text
    found = null_row(arm, [biased])["violations"]
    assert [text.partition(":")[0] for text in found] == ["loss of the public base"]
