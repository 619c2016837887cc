"""What a run spends stays within its target, is what the ledger says, and ends it where it must."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from fl_core.adapters import flat_adapter
from fl_core.privacy.ledger import read_ledger, summary
from fl_core.tracking import read_metrics
from tests.fl_core.engines.scripted import Recording
from tests.fl_core.tiny import run_tiny, tiny_config, tiny_task


def test_realised_epsilon_grows_with_drop_outs_and_stays_within_the_target(parties, tmp_path):
    base = ("privacy.noise_multiplier=null", "privacy.epsilon=5", "federation.n_min=5", "federation.colluders=1")
    found = {}
    for name, dropout in (("full", 0.0), ("dropping", 0.15)):
        config = tiny_config(*base, "aggregation.backend=smpc", f"simulation.dropout={dropout}")
        run_tiny(tmp_path / name, config, parties)
        found[name] = summary(read_ledger(tmp_path / name / "ledger.jsonl")).views
    assert found["full"].release.epsilon < found["full"].aggregators.epsilon <= 5
    assert found["full"].aggregators.epsilon < found["dropping"].aggregators.epsilon <= 5


def test_the_budget_stops_a_run_before_the_opening_that_would_exceed_it(tmp_path):
    config = tiny_config("privacy.noise_multiplier=null", "privacy.epsilon=3")

    ended, _ = run_tiny(tmp_path / "run", config, Recording("open", "lose"))
    assert "stopped by the budget" in ended
    assert "privacy.epsilon is 3" in ended
    found = summary(read_ledger(tmp_path / "run" / "ledger.jsonl"))
    assert found.openings == 6  # one of them was lost, so five rounds were trained
    assert found.views.release.epsilon <= 3


def test_a_run_that_the_budget_stops_has_the_scores_of_its_last_round_on_all_test_data(tmp_path):
    config = tiny_config("privacy.noise_multiplier=null", "privacy.epsilon=3", "engine.eval_every=4")
    task = tiny_task(config)
    whole = []

    def evaluate_whole(model):
        whole.append(flat_adapter(model))
        return {"accuracy": float(len(whole))}

    task = dataclasses.replace(task, evaluate_whole=evaluate_whole)
    _, loop = run_tiny(tmp_path / "run", config, Recording("open", "lose"), task=task)
    assert loop.state.round == 5
    assert len(whole) == 2, "before the first round and after the last one"
    assert torch.equal(whole[1], loop.state.theta)
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [row["round"] for row in rows] == list(range(6))
    assert ["accuracy" in row for row in rows] == [True, False, False, False, True, True]
    assert rows[5]["accuracy"] == task.evaluate(loop.task.model)["accuracy"]
    assert (rows[5]["whole/accuracy"], rows[5]["survivors"]) == (2.0, 8)
    ended, _ = run_tiny(tmp_path / "run", config, task=task, resume=True)
    assert "stopped by the budget" in ended
    assert len(whole) == 2, "it is not scored again"
    assert read_metrics(tmp_path / "run" / "metrics.jsonl") == rows


def test_the_reported_epsilons_equal_the_ones_derived_from_the_ledger(tmp_path):
    config = tiny_config("simulation.dropout=0.2", "federation.n_min=3", "federation.colluders=1")
    run_tiny(tmp_path / "run", config)
    last = read_metrics(tmp_path / "run" / "metrics.jsonl")[-1]
    found = summary(read_ledger(tmp_path / "run" / "ledger.jsonl"), "rdp").views
    assert last["epsilon_release"] == pytest.approx(found.release.epsilon, rel=1e-6)
    assert last["epsilon_local"] == pytest.approx(found.local.epsilon, rel=1e-6)
    assert last["epsilon_aggregators"] == pytest.approx(found.local.epsilon, rel=1e-6)  # plaintext
