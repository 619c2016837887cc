"""Repetitions become one arm: its mean, its spread, and the share of the non-private gain that it keeps."""

from __future__ import annotations

import copy
import json

import pytest

from experiments.arms import Arm, arms_of, chosen_runs, gain_kept
from experiments.figures import label
from experiments.report import arm_table, load_runs, write_report
from secagg.errors import SottoError
from tests.experiments.test_summary import SUMMARY


def run(name, after, trust="distributed", clients=1000, epsilon=8.0, **scores):
    summary = copy.deepcopy(SUMMARY)
    summary["config"] |= {
        "federation": {"clients": clients},
        "privacy": {"unit": "example", "trust": trust, "mechanism": "discrete_gaussian", "epsilon": epsilon},
        "data": {"name": "stackoverflow"},
        "lora": {"rank": 8, "targets": ["c_attn"]},
        "simulation": {"noise": "per_client"},
    }
    if trust == "none":
        summary["config"]["privacy"]["epsilon"] = None
    summary["privacy"] |= {
        "warnings": [f"about {name}"], "delta": 1e-5, "notes": [], "unit": "example", "backend": "smpc",
        "neighbouring": "zero_out", "accountant": "rdp", "run": "0" * 32, "private": True, "proven": True,
        "openings": 2, "rounds": 2,
    }  # fmt: skip
    for view in summary["privacy"]["views"].values():
        view |= {"adversary": "somebody", "note": None}
    summary |= {"accuracy_before": 0.1, "accuracy_after": after, "notes": [], "source": "here"}
    summary |= {"records": 10, "parameters": 5, "ended": "all rounds done", "rounds_done": 2, "seconds_rounds": 1.0}
    if scores:
        summary |= {
            "scores_before": {"accuracy": 0.1, **scores},
            "scores_after": {"accuracy": after, **{key: value * 2 for key, value in scores.items()}},
        }
    rows = [{"round": n, "accuracy": 0.1 + n / 2 * (after - 0.1)} for n in range(3)]
    return name, rows, summary


def test_repetitions_are_one_arm_and_other_names_are_their_own():
    arms = arms_of([run("a@1", 0.2), run("b", 0.3), run("a@2", 0.3), run("c.x", 0.1)])
    assert [(arm.name, len(arm.runs)) for arm in arms] == [("a", 2), ("b", 1), ("c.x", 1)]


def test_an_epsilon_in_a_name_is_no_repetition():
    names = [arm.name for arm in arms_of([run("eps0.5", 0.1), run("eps0.25@1", 0.1), run("eps0.25@2", 0.1)])]
    assert names == ["eps0.5", "eps0.25"]


def test_some_runs_are_chosen_by_their_names_with_or_without_the_number():
    runs = [run("a@1", 0.2), run("a@2", 0.3), run("b@1", 0.1), run("c", 0.1)]

    def names(only):
        return [name for name, _, _ in chosen_runs(runs, only)]

    assert names([]) == ["a@1", "a@2", "b@1", "c"]
    assert names(["a", "c"]) == ["a@1", "a@2", "c"]
    assert names(["a@2"]) == ["a@2"]
    with pytest.raises(SottoError, match="no run is called d; allowed: a, b, c"):
        chosen_runs(runs, ["d"])


def test_two_runs_of_one_name_are_not_taken_for_repetitions():
    with pytest.raises(SottoError, match="two runs are called a@1"):
        chosen_runs([run("a@1", 0.2), run("a@1", 0.3)], [])
    assert len(chosen_runs([run("a", 0.2), run("a", 0.3), run("b", 0.1)], ["b"])) == 1


def test_a_legend_names_the_unit_where_it_is_asked_for():
    own = run("own", 0.2)[2]
    assert label(own, targets=False) == "distributed, epsilon 8"
    assert label(own, targets=False, unit=True) == "example level, distributed, epsilon 8"


def test_mean_and_deviation_are_those_of_the_runs():
    arm = Arm("a", (run("a@1", 0.2), run("a@2", 0.3), run("a@3", 0.4)))
    assert arm.mean("accuracy_after") == pytest.approx(0.3)
    assert arm.deviation("accuracy_after") == pytest.approx(0.1)
    assert Arm("b", (run("b", 0.2),)).deviation("accuracy_after") is None


def test_another_depth_of_the_adapter_is_another_setting():
    free, own = run("none", 0.2, "none"), run("own", 0.15)
    free[2]["config"]["lora"]["blocks"] = [-1]
    arms = arms_of([free, own])
    assert gain_kept(arms[1], arms) is None
    own[2]["config"]["lora"]["blocks"] = [-1]
    assert gain_kept(arms[1], arms) == pytest.approx(0.5)


def test_the_gain_kept_is_measured_against_the_run_without_privacy_of_the_same_setting():
    arms = arms_of([run("none", 0.2, "none"), run("own", 0.17), run("other", 0.5, clients=100)])
    assert gain_kept(arms[0], arms) == pytest.approx(1.0)
    assert gain_kept(arms[1], arms) == pytest.approx(0.7)
    assert gain_kept(arms[2], arms) is None


def test_no_gain_is_no_share():
    arms = arms_of([run("none", 0.1, "none"), run("own", 0.17)])
    assert gain_kept(arms[1], arms) is None


def test_the_table_shows_spread_runs_gain_and_every_score():
    arms = arms_of(
        [run("none", 0.2, "none", perplexity=200.0), *(run(f"a@{k}", 0.1 + k / 50, perplexity=200.0) for k in (1, 2))]
    )
    columns, rows = arm_table(arms)
    cells = dict(zip(columns, rows[1], strict=True))
    assert cells["accuracy after"] == "0.1300 ± 0.0141"
    assert cells["runs"] == "2"
    assert cells["gain kept"] == "30.0%"
    assert cells["perplexity, before and after"] == "200.0 → 400.0"
    assert dict(zip(columns, rows[0], strict=True))["accuracy after"] == "0.2000"


@pytest.mark.parametrize("level", [0.2, 0.9])
def test_a_report_has_a_table_figures_and_every_number(tmp_path, level):
    runs = [
        run("none", level, "none"),
        *(run(f"own@{k}", level - 0.01 * k) for k in (1, 2)),
        run("local", 0.12, "local"),
        run("central", level - 0.01, "central"),
    ]
    write_report(runs, tmp_path / "report", "next words")
    assert {path.name for path in (tmp_path / "report").iterdir()} == {
        "accuracy.png",
        "trust.png",
        "table.md",
        "runs.json",
    }
    table = (tmp_path / "report" / "table.md").read_text()
    assert table.count("\n| ") == 4  # arms, the repeated one once
    assert "about own@2" in table
    stored = json.loads((tmp_path / "report" / "runs.json").read_text())
    assert [entry["name"] for entry in stored] == [name for name, _, _ in runs]


def test_one_trust_model_needs_no_comparison_of_trust(tmp_path):
    write_report([run("a", 0.2), run("none", 0.2, "none")], tmp_path, "x")
    assert not (tmp_path / "trust.png").exists()


def test_a_folder_without_a_finished_run_is_a_sentence(tmp_path):
    with pytest.raises(SottoError, match="holds no finished run"):
        load_runs([tmp_path])


def test_a_report_is_drawn_again_from_its_own_numbers(tmp_path):
    write_report([run("none", 0.2, "none"), run("own@1", 0.15), run("own@2", 0.16)], tmp_path / "one", "x")
    write_report(load_runs([tmp_path / "one" / "runs.json"]), tmp_path / "two", "x")
    for name in ("table.md", "runs.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert (tmp_path / "two" / "accuracy.png").exists()


@pytest.mark.parametrize("content", [b"[1]", b"\x89PNG" + bytes(4000), b"{"])
def test_another_file_is_no_report(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(SottoError, match="is no runs.json that a report wrote") as refusal:
        load_runs([tmp_path / "x.json"])
    assert len(str(refusal.value)) < 400
