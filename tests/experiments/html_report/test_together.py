"""Runs that are compared on one page are added up where they may be about the same records."""

from __future__ import annotations

import shutil

import pytest

from experiments.html_report import together
from experiments.html_report.ledger_check import check_ledger
from experiments.html_report.sections import Subject
from experiments.html_report.together import spent_together
from fl_core.privacy.events import PrivacyError
from fl_core.privacy.joint import add_up
from fl_core.privacy.ledger import read_ledger
from tests.experiments.html_report.sample import sample_run
from tests.experiments.html_report.test_page import page


@pytest.fixture
def subjects(tmp_path):
    def make(**kinds):
        runs = {name: sample_run(tmp_path / name, name, **kind) for name, kind in kinds.items()}
        return [Subject(run, check_ledger(tmp_path / name / "ledger.jsonl", run[2])) for name, run in runs.items()]

    return make


def test_private_runs_that_may_be_about_the_same_records_have_a_joint_epsilon(subjects, tmp_path):
    (said,) = spent_together(subjects(a={}, bb={"noise_multiplier": 3.0}, free={"trust": "none"}))
    (joint,) = add_up([read_ledger(tmp_path / name / "ledger.jsonl") for name in ("a", "bb")])
    assert said.startswith("2 private runs may be about the same records: ")
    assert f"together their epsilons are release {joint.views.release.epsilon:.3f}, aggregators " in said
    assert joint.views.release.epsilon > read_one(tmp_path / "a")


def read_one(folder):
    (alone,) = add_up([read_ledger(folder / "ledger.jsonl")])
    return alone.views.release.epsilon


def test_one_private_run_or_none_is_not_added_up(subjects):
    assert spent_together(subjects(a={}, free={"trust": "none"}, seeded={"noise_source": "seeded"})) == []
    assert spent_together([]) == []


def test_copies_of_one_run_are_counted_once(subjects, tmp_path):
    one, other = subjects(a={}, bb={"noise_multiplier": 3.0})
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    twin = Subject(("b", *one.run[1:]), check_ledger(tmp_path / "b" / "ledger.jsonl", one.summary))
    assert spent_together([one, twin]) == []
    assert spent_together([one, twin, other]) == spent_together([one, other])


def test_what_cannot_be_added_up_is_said_without_a_place_on_the_machine(subjects, monkeypatch, tmp_path):
    def refuse(*_):
        raise PrivacyError(f"{tmp_path} is no good")

    monkeypatch.setattr(together, "add_up", refuse)
    (said,) = spent_together(subjects(a={}, bb={}))
    assert "could not be added up" in said
    assert str(tmp_path) not in said


def test_the_sum_stands_on_the_page_and_equal_settings_are_counted_once(tmp_path):
    runs = [sample_run(tmp_path / name, name) for name in ("a", "bb")]
    _, read = page(tmp_path, runs, {name: tmp_path / name / "ledger.jsonl" for name in ("a", "bb")})
    assert "All of these runs together 2 private runs may be about the same records" in read.text
    assert "2 runs of 1 setting fine-tuned" in read.text
    assert "asked for 8; of one run alone" in read.text
    _, stored = page(tmp_path, runs, {})
    assert "All of these runs together" not in stored.text
