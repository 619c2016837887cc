"""Candidates are the same for every unit, and their coins are fair."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.membership.candidates import candidates_of
from bench.membership.design import Design
from secagg.errors import SottoError
from tests.bench.membership.made_up import TINY


def test_candidates_are_alike_for_both_units_and_a_users_coin_is_one(topics):
    by_record, by_user = (candidates_of(topics, TINY, unit, 3) for unit in ("example", "client"))
    assert np.array_equal(by_record.rows, by_user.rows)
    assert np.array_equal(topics.ids[by_record.rows], by_record.ids)
    assert len(np.unique(by_record.ids, axis=0)) == len(by_record.rows) == 120
    assert (topics.lengths[by_record.rows] >= 8).all()
    for user in range(12):
        own = by_user.users == user
        assert own.sum() == 10
        assert len(set(topics.users[by_user.rows[own]])) == 1
        assert len(set(by_user.inside[own])) == 1
    assert any(0 < by_record.inside[by_record.users == user].sum() < 10 for user in range(12))
    assert not np.array_equal(candidates_of(topics, TINY, "example", 4).rows, by_record.rows)


def test_coins_are_fair(topics):
    inside = [candidates_of(topics, TINY, "example", seed).inside for seed in range(50)]
    assert abs(np.concatenate(inside).mean() - 0.5) < 4 * 0.5 / math.sqrt(50 * 120)
    together = np.mean(inside, axis=0)  # no candidate is rather in than others
    assert together.min() > 0.15
    assert together.max() < 0.85


def test_too_few_users_are_a_sentence(topics):
    with pytest.raises(
        SottoError, match="2000 users with 10 sequences are wanted, but .* have so many; allowed: up to"
    ):
        candidates_of(topics, Design("topics", 2000, 10, 8, {}, {}), "example", 1)
