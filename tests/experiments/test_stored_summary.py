"""A summary is checked where it is read: what a report relies on is there and of its kind, or a sentence names it."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from experiments.stored_runs import load_runs
from experiments.stored_summary import check_curve, check_summary
from secagg.errors import SottoError
from tests.experiments.stored_run import run

RESULTS = Path(__file__).parents[2] / "bench" / "results"


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*/runs.json")), ids=lambda path: path.parent.name)
def test_every_report_that_was_ever_committed_is_read(path):
    assert load_runs([path])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("data", 5), ("data", "\ud800"), ("accuracy_after", "0.9"), ("accuracy_after", 10**400), ("notes", None),
        ("config.privacy.trust", "nobody"), ("config.privacy.trust", []), ("config.privacy.epsilon", "8"),
        ("config.privacy.epsilon", -1.0), ("privacy.views.local", None), ("privacy.views.local.epsilon", True),
        ("privacy.delta", {}), ("config.federation.clients", 1.5), ("config.noise", {"by": "clients"}),
        ("words", {"learns": 3}), ("words", []),
        ("privacy.unit", "record"), ("privacy.proven", 1), ("privacy.notes", "none"), ("privacy.run", {}),
        ("privacy.delta", 0.0), ("privacy.views.local.note", 5),
        ("privacy.views.local.epsilon", -1.0), ("idealised_release_epsilon", "2"),
        ("scores_after", {"accuracy": None}), ("config.lora.targets", "fc"), ("config", []),
    ],
)  # fmt: skip
def test_a_value_of_another_kind_is_named(key, value):
    summary = copy.deepcopy(run("a", 0.3)[2])
    assert check_summary(summary, "here") is summary
    place = summary
    *sections, last = key.split(".")
    for section in sections:
        place = place[section]
    place[last] = value
    with pytest.raises(SottoError, match=f"here is no summary that a run wrote: {key}"):
        check_summary(summary, "here")


def test_a_key_that_is_missing_is_named():
    summary = run("a", 0.3)[2]
    del summary["privacy"]["views"]["release"]
    with pytest.raises(SottoError, match=r"privacy\.views\.release\.epsilon is missing"):
        check_summary(summary, "here")


@pytest.mark.parametrize("row", [{"round": -1}, {"round": 1.5}, {"round": 0, "accuracy": None}, {"accuracy": 0.5}])
def test_a_curve_of_no_numbers_is_refused(row):
    with pytest.raises(SottoError, match="here holds a round that is no count, or whose accuracy is no share"):
        check_curve([row], "here")


@pytest.mark.parametrize(
    ("key", "value"), [("epsilon_release", "8"), ("epsilon_local", -1), ("seconds", None), ("survivors", [])]
)
def test_a_curve_that_cannot_be_drawn_is_named(key, value):
    rows = [{"round": 0, "message": "untuned"}, {"round": 3, key: value}]
    with pytest.raises(SottoError, match=f"here holds a round 3 whose {key} is no number of 0 or more"):
        check_curve(rows, "here")


@pytest.mark.parametrize("text", ["[" * 100_000, "NaN", "[]", '[{"name": 5, "summary": {}, "accuracy": []}]', "\xff"])
def test_a_file_that_is_no_report_is_refused(tmp_path, text):
    path = tmp_path / "runs.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(SottoError, match="runs.json is no runs.json that a report wrote"):
        load_runs([path])


def test_a_summary_with_numbers_that_json_has_not_is_refused(tmp_path):
    (tmp_path / "summary.json").write_text(json.dumps({"accuracy_after": float("nan")}))
    with pytest.raises(SottoError, match="summary.json cannot be read"):
        load_runs([tmp_path])


def test_a_configuration_that_is_deeper_than_any_or_holds_what_is_no_text_is_refused():
    for odd in ({"a": "\ud800"}, {"\ud800": 1}):
        summary = copy.deepcopy(run("a", 0.3)[2])
        summary["config"]["more"] = odd
        with pytest.raises(SottoError, match="config is of another kind or size"):
            check_summary(summary, "here")
    deep: object = 1
    for _ in range(5000):
        deep = [deep]
    summary = copy.deepcopy(run("a", 0.3)[2])
    summary["config"]["more"] = deep
    with pytest.raises(SottoError, match="config is of another kind or size"):
        check_summary(summary, "here")
