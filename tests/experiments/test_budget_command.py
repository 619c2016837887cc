"""`sotto budget`, and whole runs that share one."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.experiments.test_command_line import CONFIG


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SOTTO_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    privacy = {"noise_multiplier": 2.0, "delta": 1e-3, "budget": "budget"}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({**CONFIG, "privacy": privacy}))
    return tmp_path


def test_runs_that_share_a_budget_stop_within_it_and_none_is_overwritten(home, sotto, mistake):
    code, out, _ = sotto("budget", "init", "budget", "--epsilon", 3, "--delta", 1e-3, "--view", "release")
    assert code == 0
    assert "privacy.budget=budget may reach epsilon 3 together (release view)" in out
    code, out, _ = sotto("run", "run.yaml", "--out", "a", "--json")
    assert code == 0
    assert json.loads(out)["rounds_done"] == 4
    code, out, _ = sotto("run", "run.yaml", "federation.rounds=40", "--out", "b", "--json")
    assert code == 0
    second = json.loads(out)
    assert 0 < second["rounds_done"] < 40
    assert second["ended"].startswith(
        f"stopped by the budget budget: one more opening would take this run and {home}/a"
    )
    shown = json.loads(sotto("budget", "show", "budget", "--json")[1])
    assert (shown["allowed"], shown["delta"], shown["view"]) == (3, 1e-3, "release")
    assert [run["openings"] for run in shown["runs"]] == [4, second["rounds_done"]]
    assert max(run["epsilon"] for run in shown["runs"]) < shown["epsilon"] <= 3
    (joint,) = json.loads(sotto("ledger", "a", "b", "--accountant", "rdp", "--json")[1])["joint"]
    assert joint["epsilon"] == pytest.approx(shown["epsilon"])
    assert (joint["data"], joint["contribution"], joint["unknown"]) == ("digits", "an image", [])
    out = sotto("budget", "show", "budget")[1]
    assert f"together: epsilon {shown['epsilon']:.4f} of 3" in out
    assert "stopped by the budget budget: one more opening" in mistake("run", "run.yaml", "--out", "c", "--json")
    before = (home / "a" / "ledger.jsonl").read_bytes()
    says = mistake("run", "run.yaml", "privacy.budget=null", "--out", "a", "--overwrite", "--json")
    assert says == "a holds a run that the budget budget counts; keep it and choose another --out"
    assert (home / "a" / "ledger.jsonl").read_bytes() == before
    (home / "a" / "ledger.jsonl").rename(home / "elsewhere")
    for words in (("budget", "show", "budget"), ("run", "run.yaml", "--out", "d", "--json")):
        assert "which cannot be counted now" in mistake(*words)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("privacy.insecure_seed=1", "privacy.budget is 'budget' while privacy.insecure_seed is set; allowed: null"),
        ("privacy.budget=''", "privacy.budget is empty; allowed: a folder, or null"),
        ("privacy.budget=other", "other holds no budget"),
    ],
)
def test_a_run_that_no_budget_can_count_is_refused(home, mistake, sotto, change, says):
    assert sotto("budget", "init", "budget", "--epsilon", 3, "--delta", 1e-3)[0] == 0
    assert says in mistake("run", "run.yaml", change, "--json")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--epsilon", 0, "--delta", 0.1], "a budget's epsilon is 0.0; allowed: a number above 0"),
        (["--epsilon", "nan", "--delta", 0.1], "epsilon is nan"),
        (["--epsilon", "inf", "--delta", 0.1], "epsilon is inf"),
        (["--epsilon", 1, "--delta", 1], "a budget's delta is 1.0; allowed: a number above 0 and below 1"),
        (["--epsilon", 1, "--delta", 0.1, "--view", "all"], "view is 'all'; allowed: release, aggregators, local"),
    ],
)
def test_terms_that_bind_nothing_are_refused(home, mistake, words, says):
    assert says in mistake("budget", "init", "budget", *words)
    assert not (home / "budget").exists()
    assert "holds no budget" in mistake("budget", "show", "budget")
