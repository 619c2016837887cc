"""Rounds from start to end: resuming, drop-outs, budgets, failures, and what must be on disk before an opening."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import signal

import pytest
import torch

from fl_core.adapters import flat_adapter
from fl_core.checkpoint import latest_checkpoint
from fl_core.privacy.ledger import history, read_ledger, summary
from fl_core.tracking import read_metrics
from secagg import PlaintextAggregator, SmpcAggregator
from secagg.errors import AggregationError
from secagg.smpc import PartyFailure
from tests.fl_core.engines.scripted import Recording, Stop, stop_after
from tests.fl_core.tiny import run_tiny, tiny_config, tiny_task


@pytest.mark.parametrize("unit", ["example", "client"])
@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_a_resumed_seeded_run_equals_the_uninterrupted_one_bit_for_bit(tmp_path, unit, optimizer):
    config = tiny_config(
        f"privacy.unit={unit}", f"server.optimizer={optimizer}", "simulation.dropout=0.2", "federation.n_min=3"
    )
    _, whole = run_tiny(tmp_path / "whole", config)
    with pytest.raises(Stop):
        run_tiny(tmp_path / "parts", config, on_round=stop_after(2))
    _, parts = run_tiny(tmp_path / "parts", config, resume=True)
    assert torch.equal(whole.state.theta, parts.state.theta)
    assert torch.equal(whole.state.optimizer.first, parts.state.optimizer.first)
    drop = ("seconds",)
    rows = [
        [{k: v for k, v in row.items() if k not in drop} for row in read_metrics(tmp_path / name / "metrics.jsonl")]
        for name in ("whole", "parts")
    ]
    assert rows[0] == rows[1]
    assert [row["round"] for row in rows[0]] == list(range(7))


def test_smpc_and_plaintext_runs_with_equal_seeds_give_the_same_adapter_bits(parties, tmp_path):
    plain = tiny_config()
    secure = tiny_config("aggregation.backend=smpc")
    _, one = run_tiny(tmp_path / "plain", plain)
    _, two = run_tiny(tmp_path / "smpc", secure, parties)
    assert one.state.theta.numpy().tobytes() == two.state.theta.numpy().tobytes()


def test_secure_runs_differ_from_each_other(tmp_path):
    config = tiny_config("privacy.insecure_seed=null")
    _, one = run_tiny(tmp_path / "a", config)
    _, two = run_tiny(tmp_path / "b", config)
    assert not torch.equal(one.state.theta, two.state.theta)


def test_without_noise_training_learns_and_the_ledger_has_no_finite_epsilon(tmp_path):
    config = tiny_config("privacy.trust=none", "privacy.noise_multiplier=null", "federation.rounds=20")
    run_tiny(tmp_path / "run", config)
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert rows[-1]["accuracy"] > rows[0]["accuracy"] + 0.2
    found = summary(read_ledger(tmp_path / "run" / "ledger.jsonl"))
    assert found.views.release.epsilon is None
    assert not found.private


def test_the_ledger_entry_is_on_disk_before_the_sum_is_opened(tmp_path):
    path = tmp_path / "run" / "ledger.jsonl"
    lines_at_opening = []

    class Watching(PlaintextAggregator):
        def close(self, before_opening=None):
            def hook(clients):
                before = len(path.read_bytes().splitlines())
                before_opening(clients)
                lines_at_opening.append((before, len(path.read_bytes().splitlines())))

            return super().close(hook)

    run_tiny(tmp_path / "run", tiny_config(), Watching())
    assert lines_at_opening == [(n, n + 1) for n in range(1, 7)]


def test_an_opening_whose_result_was_lost_is_counted_again_when_the_round_runs_again(tmp_path):
    config = tiny_config()
    with pytest.raises(Stop):
        run_tiny(tmp_path / "run", config, Recording("open", "open", "die"))
    run_tiny(tmp_path / "run", config, resume=True)
    openings = read_ledger(tmp_path / "run" / "ledger.jsonl").openings
    assert [(o.round, o.attempt) for o in openings] == [(1, 0), (2, 0), (3, 0), (3, 1), (4, 0), (5, 0), (6, 0)]
    assert sum(event.steps for event in history(read_ledger(tmp_path / "run" / "ledger.jsonl"))) == 7


def test_a_run_interrupted_while_it_evaluates_keeps_the_round_and_its_row(tmp_path):
    config = tiny_config()
    task = tiny_task(config)
    calls = itertools.count()

    def evaluate(model):
        if next(calls) == 3:  # the untuned model is number 0
            raise KeyboardInterrupt
        return {"accuracy": 0.5}

    with pytest.raises(KeyboardInterrupt):
        run_tiny(tmp_path / "run", config, task=dataclasses.replace(task, evaluate=evaluate))
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [row["round"] for row in rows] == [0, 1, 2, 3]
    assert "accuracy" not in rows[3]
    run_tiny(tmp_path / "run", config, resume=True)
    assert [row["round"] for row in read_metrics(tmp_path / "run" / "metrics.jsonl")] == list(range(7))
    assert len(read_ledger(tmp_path / "run" / "ledger.jsonl").openings) == 6


def test_a_killed_party_costs_an_attempt_and_the_round_goes_on_with_fresh_randomness(tmp_path):
    killed = []

    class Fragile(SmpcAggregator):
        def close(self, before_opening=None):
            def hook(clients):
                before_opening(clients)
                if not killed:
                    killed.append(self.pids[2])
                    os.kill(self.pids[2], signal.SIGKILL)

            return super().close(hook)

    config = tiny_config("aggregation.backend=smpc", "federation.rounds=2")
    with Fragile(3, 30) as aggregator:
        ended, _ = run_tiny(tmp_path / "run", config, aggregator)
    assert ended == "all rounds done"
    openings = read_ledger(tmp_path / "run" / "ledger.jsonl").openings
    assert [(o.round, o.attempt) for o in openings] == [(1, 0), (1, 1), (2, 0)]


def test_attempts_of_one_round_never_repeat_noise_or_shares(tmp_path):
    bodies = []

    class Failing(PlaintextAggregator):
        def submit(self, message):
            bodies.append(message.shares.body.copy())
            super().submit(message)

        def close(self, before_opening=None):
            raise PartyFailure("party 1 is gone")

    config = tiny_config("aggregation.retries=1", "engine.cohort_size=1")  # a message for each client
    with pytest.raises(AggregationError, match="round 1 was given up after 2 attempts: party 1 is gone"):
        run_tiny(tmp_path / "run", config, Failing())
    assert len(bodies) == 16
    assert len({body.tobytes() for body in bodies}) == 16


def test_below_n_min_nothing_is_opened_nothing_is_charged_and_the_round_says_so(tmp_path):
    config = tiny_config("simulation.dropout=0.6", "federation.n_min=6", "federation.rounds=4")
    _, engine = run_tiny(tmp_path / "run", config)
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    failed = [row for row in rows if "below n_min 6; nothing was opened" in row.get("message", "")]
    opened = read_ledger(tmp_path / "run" / "ledger.jsonl").openings
    assert failed
    assert len(opened) + len(failed) == 4
    assert engine.state.round == 4


@pytest.mark.parametrize("unit", ["example", "client"])
def test_a_client_with_nan_records_poisons_nothing_and_is_counted(tmp_path, unit):
    config = tiny_config(f"privacy.unit={unit}", "federation.sample_rate=1")
    _, engine = run_tiny(tmp_path / "run", config, task=tiny_task(config, poison=3))
    assert torch.isfinite(engine.state.theta).all()
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [row["simulation/nonfinite"] for row in rows[1:]] == [1] * 6


def test_one_record_moves_the_opened_sum_by_at_most_the_clip_norm(tmp_path):
    """Zero-out neighbours with equal noise: the difference of two opened sums is an integer vector of norm <= C s."""
    sums = []

    class Recording(PlaintextAggregator):
        def close(self, before_opening=None):
            opened = super().close(before_opening)
            sums.append(opened.total.copy())
            return opened

    config = tiny_config("federation.sample_rate=1", "federation.rounds=1", "privacy.clip_norm=0.25")
    run_tiny(tmp_path / "with", config, Recording())
    run_tiny(tmp_path / "without", config, Recording(), task=tiny_task(config, poison=7))
    difference = [int(a) - int(b) for a, b in zip(*sums, strict=True)]
    norm = sum(v * v for v in difference)
    assert 0 < norm <= (2**18) ** 2


def test_the_aggregate_simulation_equals_the_faithful_run_when_there_is_no_noise(tmp_path):
    none = ("privacy.trust=none", "privacy.noise_multiplier=null")
    _, one = run_tiny(tmp_path / "a", tiny_config(*none))
    _, two = run_tiny(tmp_path / "b", tiny_config(*none, "simulation.noise=aggregate"))
    assert torch.equal(one.state.theta, two.state.theta)


def test_a_diverging_adapter_is_a_sentence(tmp_path):
    config = tiny_config("server.learning_rate=1e42", "server.optimizer=sgd")
    with pytest.raises(AggregationError, match="no longer finite; lower server.learning_rate"):
        run_tiny(tmp_path / "run", config)


def test_checkpoints_hold_what_the_engine_holds(tmp_path):
    _, engine = run_tiny(tmp_path / "run", tiny_config())
    saved = latest_checkpoint(tmp_path / "run" / "checkpoints")
    assert saved.round == 6
    assert torch.equal(saved.theta, flat_adapter(engine.task.model))
    assert json.loads((tmp_path / "run" / "ledger.jsonl").read_bytes().splitlines()[-1])["hash"] == saved.ledger_head
