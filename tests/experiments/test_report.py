"""A report has a table, every number, a page, and the figures that its runs are comparable in."""

from __future__ import annotations

import json

import pytest

from experiments.report import write_report
from experiments.stored_runs import load_runs
from tests.experiments.stored_run import run


@pytest.mark.parametrize("level", [0.2, 0.9])
def test_a_report_has_a_table_figures_and_every_number(tmp_path, level):
    runs = [
        run("none", level, "none"),
        *(run(f"own@{k}", level - 0.01 * k) for k in (1, 2)),
        run("local", 0.12, "local"),
        run("central", level - 0.01, "central"),
    ]
    write_report(runs, {}, tmp_path / "report", "next words")
    assert {path.name for path in (tmp_path / "report").iterdir()} == {
        "accuracy.png",
        "trust.png",
        "table.md",
        "runs.json",
        "report.html",
    }
    table = (tmp_path / "report" / "table.md").read_text()
    assert table.count("\n| ") == 4  # arms, the repeated one once
    assert "about own@2" in table
    stored = json.loads((tmp_path / "report" / "runs.json").read_text())
    assert [entry["name"] for entry in stored] == [name for name, _, _ in runs]


def test_one_trust_model_needs_no_comparison_of_trust(tmp_path):
    write_report([run("a", 0.2), run("none", 0.2, "none")], {}, tmp_path, "x")
    assert not (tmp_path / "trust.png").exists()


def test_a_report_is_drawn_again_from_its_own_numbers(tmp_path):
    write_report([run("none", 0.2, "none"), run("own@1", 0.15), run("own@2", 0.16)], {}, tmp_path / "one", "x")
    write_report(load_runs([tmp_path / "one" / "runs.json"]), {}, tmp_path / "two", "x")
    for name in ("table.md", "runs.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert (tmp_path / "two" / "accuracy.png").exists()


def test_runs_whose_metrics_are_gone_are_reported_by_their_summaries(tmp_path):
    write_report([(name, [], summary) for name, _, summary in (run("a", 0.2), run("b", 0.3))], {}, tmp_path)
    assert "| a | mnist |" in (tmp_path / "table.md").read_text()
    assert (tmp_path / "accuracy.png").exists()


def test_trust_models_of_runs_that_asked_for_no_epsilon_are_not_drawn_by_epsilon(tmp_path):
    runs = [run("own", 0.2, epsilon=None), run("central", 0.3, "central", epsilon=None)]
    for _, _, summary in runs:
        summary["config"]["privacy"]["noise_multiplier"] = 1.0
    write_report(runs, {}, tmp_path)
    assert (tmp_path / "accuracy.png").exists()
    assert not (tmp_path / "trust.png").exists()
