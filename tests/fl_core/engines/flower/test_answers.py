"""A client counts its answers on its own disk before it computes them, and gives no more than it agreed to."""

from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from fl_core.engines.flower.answers import AnswerBook, answers_allowed
from fl_core.engines.flower.exchange import Refusal
from tests.fl_core.engines.flower.nodes import flower_config


def count(path, times, allowed, terms="t", run="r"):
    for number in range(times):
        AnswerBook(path, 2).count(terms, allowed, run, 1, number)


def test_so_many_answers_and_no_more(tmp_path):
    path = tmp_path / "answers.jsonl"
    count(path, 3, 3)
    with pytest.raises(Refusal, match="client 2 has answered 3 times under this configuration, and agreed to 3"):
        count(path, 1, 3, run="another")
    count(path, 1, 1, terms="other")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(row["run"], row["round"], row["attempt"], row["terms"]) for row in rows] == [
        ("r", 1, 0, "t"),
        ("r", 1, 1, "t"),
        ("r", 1, 2, "t"),
        ("r", 1, 0, "other"),
    ]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_torn_line_counts_and_the_next_one_is_whole(tmp_path):
    path = tmp_path / "answers.jsonl"
    count(path, 1, 9)
    with path.open("ab") as file:
        file.write(b'{"time": "2026')
    count(path, 1, 3)
    with pytest.raises(Refusal, match="answered 3 times"):
        count(path, 1, 3)
    with pytest.raises(Refusal, match="answered 1 times"):
        count(path, 1, 1, terms="other")
    assert json.loads(path.read_text().splitlines()[-1])["attempt"] == 0


def test_what_cannot_be_counted_is_not_answered(tmp_path):
    with pytest.raises(Refusal, match="client 2 cannot note that it answers \\(No such file"):
        count(tmp_path / "missing" / "answers.jsonl", 1, 9)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refusal, match="cannot note"):
        count(tmp_path / "link", 1, 9)
    assert not (tmp_path / "elsewhere").exists()


def test_many_at_once_never_get_one_more(tmp_path):
    path = tmp_path / "answers.jsonl"

    def one(number):
        try:
            count(path, 1, 20, run=f"run {number}")
        except Refusal:
            return 0
        return 1

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(one, range(60))) == 20
    assert len(path.read_text().splitlines()) == 20


def test_a_long_name_does_not_fill_the_disk(tmp_path):
    count(tmp_path / "answers.jsonl", 1, 1, run="x" * 10**6)
    assert (tmp_path / "answers.jsonl").stat().st_size < 500


def test_by_default_every_attempt_at_every_round_is_answered_once():
    assert answers_allowed(flower_config("federation.rounds=5", "aggregation.retries=2")) == 15
    assert answers_allowed(flower_config("federation.rounds=5", "flower.answers=7")) == 7
