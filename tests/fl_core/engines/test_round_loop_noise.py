"""Rounds whose noise survives drop-outs, and rounds that aggregators refuse: what is opened, counted, recorded."""

from __future__ import annotations

import contextlib
import math

import pytest
import torch

from fl_core.privacy.ledger import read_ledger, summary
from fl_core.tracking import read_metrics
from secagg import PlaintextAggregator
from secagg.errors import AggregationError
from secagg.openings import OpeningRefused
from tests.fl_core.engines.scripted import Recording, Stop
from tests.fl_core.tiny import run_tiny, tiny_config

DROPPING = ("simulation.dropout=0.2", "federation.n_min=4", "federation.colluders=1", "federation.rounds=10")
XNOISE = ("noise.dropout=xnoise", *DROPPING)


def openings(folder):
    return read_ledger(folder / "ledger.jsonl").openings


@pytest.mark.parametrize("mechanism", ["discrete_gaussian", "skellam"])
def test_xnoise_opens_the_same_noise_whoever_drops_out(tmp_path, mechanism):
    config = tiny_config(*XNOISE, f"privacy.mechanism={mechanism}")
    run_tiny(tmp_path / "run", config)
    opened = openings(tmp_path / "run")
    assert len({opening.survivors for opening in opened}) > 2
    asked = math.sqrt(4 / 3)  # z = 1 for three honest ones of at least four survivors
    assert all(asked <= opening.noise_multiplier < asked * 1.001 for opening in opened)


def test_oversized_shares_open_more_noise_the_more_clients_stay(tmp_path):
    run_tiny(tmp_path / "run", tiny_config(*DROPPING))
    for opening in openings(tmp_path / "run"):
        assert opening.noise_multiplier == pytest.approx(math.sqrt(opening.survivors / 3), rel=1e-3)


def test_the_two_schemes_train_the_same_when_there_is_nothing_to_tell_them_apart(tmp_path):
    """One drop-out allowed, none happens, hardly any noise: what xnoise adds it takes away again."""
    quiet = ("privacy.noise_multiplier=1e-4", "federation.n_min=7")
    _, one = run_tiny(tmp_path / "oversize", tiny_config(*quiet))
    _, two = run_tiny(tmp_path / "xnoise", tiny_config(*quiet, "noise.dropout=xnoise"))
    assert torch.allclose(one.state.theta, two.state.theta, atol=0.05)
    assert not torch.equal(one.state.theta, two.state.theta)


def test_a_resumed_seeded_run_with_xnoise_equals_the_uninterrupted_one_bit_for_bit(tmp_path):
    config = tiny_config(*XNOISE)
    _, whole = run_tiny(tmp_path / "whole", config)
    with pytest.raises(AggregationError, match="round 3 was given up"):
        run_tiny(tmp_path / "parts", config, Recording("open", "open", "fail", "fail", "fail"))
    _, parts = run_tiny(tmp_path / "parts", config, resume=True)
    assert torch.equal(whole.state.theta, parts.state.theta)


@pytest.mark.parametrize("mechanism", ["discrete_gaussian", "skellam"])
def test_the_budget_view_meets_its_target_under_xnoise_whoever_drops_out(tmp_path, mechanism):
    base = ("privacy.noise_multiplier=null", "privacy.epsilon=6", f"privacy.mechanism={mechanism}")
    config = tiny_config(*XNOISE, *base, "aggregation.backend=smpc")
    # The budget's arithmetic is that of SMPC; the sums may come from anyone.
    ended, _ = run_tiny(tmp_path / "run", config, PlaintextAggregator())
    found = summary(read_ledger(tmp_path / "run" / "ledger.jsonl"), "rdp").views
    assert ended == "all rounds done"
    assert found.release.epsilon < found.aggregators.epsilon <= 6
    assert found.aggregators.epsilon > 5.5


def test_drop_outs_are_those_of_the_round_not_of_the_attempt(tmp_path):
    config = tiny_config(*DROPPING, "privacy.insecure_seed=null", "federation.rounds=3")
    aggregator = Recording("lose", "fail", "open", "open", "lose", "open")
    run_tiny(tmp_path / "run", config, aggregator)
    first, second, third = aggregator.sets[:3], aggregator.sets[3:4], aggregator.sets[4:]
    assert [len(set(sets)) for sets in (first, second, third)] == [1, 1, 1]
    assert len({*first, *second, *third}) > 1


def test_a_round_that_runs_again_after_a_crash_has_the_same_clients_and_a_new_attempt(tmp_path):
    config = tiny_config(*DROPPING, "privacy.insecure_seed=null", "federation.rounds=3")
    before, after = Recording("open", "lose", "die"), Recording()
    with pytest.raises(Stop):
        run_tiny(tmp_path / "run", config, before)
    after._openings = before._openings  # parties that run on remember
    ended, _ = run_tiny(tmp_path / "run", config, after, resume=True)
    assert ended == "all rounds done"
    assert before.sets[1] == before.sets[2] == after.sets[0]
    names = [(spec.round, spec.attempt) for spec in (*before.specs, *after.specs)]
    assert len(names) == len(set(names)) == 5
    assert [(opening.round, opening.attempt) for opening in openings(tmp_path / "run")] == [
        (1, 0),
        (2, 0),
        (2, 1),
        (2, 2),
        (3, 0),
    ]


def test_an_attempts_name_never_comes_twice_however_rounds_fail_and_processes_end(tmp_path):
    """Lost openings raise the count of openings and the attempt at once: their sum alone would repeat."""
    config = tiny_config("federation.rounds=1", "privacy.insecure_seed=null")
    specs, aggregator = [], Recording("lose", "lose", "die")
    with pytest.raises(Stop):
        run_tiny(tmp_path / "run", config, aggregator)
    for script in (("fail", "die"), ("fail", "lose", "open")):
        specs += aggregator.specs
        memory = aggregator._openings
        aggregator = Recording(*script)
        aggregator._openings = memory
        with contextlib.suppress(Stop):
            run_tiny(tmp_path / "run", config, aggregator, resume=True)
    specs += aggregator.specs
    opened = openings(tmp_path / "run")
    assert len(opened) == 6
    attempts = [spec.attempt for spec in specs]
    assert len(attempts) == 8
    assert len(set(attempts)) == 8


def test_a_refused_opening_is_a_round_without_a_step_and_costs_nothing(tmp_path):
    class Refuses(Recording):
        def close(self, before_opening=None):
            if self.specs[-1].round == 2:
                raise OpeningRefused("round 2 differs by 1 client; allowed: at least 4")
            return super().close(before_opening)

    reports = []
    aggregator = Refuses()
    run_tiny(tmp_path / "run", tiny_config("federation.rounds=4"), aggregator, on_round=reports.append)
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert "differs by 1 client" in rows[2]["message"]
    assert reports[1].message == rows[2]["message"]
    assert rows[2]["survivors"] == 0
    assert rows[2]["epsilon_release"] == rows[1]["epsilon_release"] < rows[3]["epsilon_release"]
    assert [opening.round for opening in openings(tmp_path / "run")] == [1, 3, 4]
    models = [spec.model for spec in aggregator.specs]
    assert models[1] == models[2]  # nothing was learnt, so the next round broadcasts the same
    assert len(set(models)) == 3
    assert all(len(model) == 64 for model in models)


def test_a_round_refused_before_it_begins_ends_the_run_with_a_sentence(tmp_path):
    class Refuses(PlaintextAggregator):
        def open_round(self, spec):
            raise OpeningRefused("this party opens no sum of fewer than 20 clients")

    with pytest.raises(AggregationError, match="round 1 was refused before it began: this party opens no sum"):
        run_tiny(tmp_path / "run", tiny_config(), Refuses())
    assert openings(tmp_path / "run") == ()


def test_messages_that_the_aggregators_refused_are_shown_with_their_round(tmp_path):
    class Drops(PlaintextAggregator):
        def close(self, before_opening=None):
            self.refused = self._state.spec.round - 1
            return super().close(before_opening)

    reports = []
    run_tiny(tmp_path / "run", tiny_config("federation.rounds=3"), Drops(), on_round=reports.append)
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [row.get("refused") for row in rows] == [None, None, 1, 2]
    assert [report.refused for report in reports] == [0, 1, 2]


def test_the_round_says_ring_scale_and_noise_and_the_row_how_much_was_sent(tmp_path):
    aggregator = Recording()
    config = tiny_config(*XNOISE, "federation.rounds=1")
    _, engine = run_tiny(tmp_path / "run", config, aggregator)
    spec = aggregator.specs[0]
    assert (spec.scale, spec.bits, spec.norm_bound) == (2**20, engine.plan.ring_bits, 0)
    assert spec.bits < 40
    assert spec.noise.components == engine.plan.noise.components
    assert len(spec.noise.components) == 5
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [row["bytes_per_client"] for row in rows] == [0, aggregator.upload_bytes(spec)]


@pytest.mark.parametrize("bits", [40, 64])
def test_the_ring_that_is_asked_for_is_used_and_changes_no_bit_of_the_model(tmp_path, bits):
    aggregator = Recording()
    _, one = run_tiny(tmp_path / "asked", tiny_config(f"aggregation.ring_bits={bits}"), aggregator)
    _, two = run_tiny(tmp_path / "narrowest", tiny_config())
    assert aggregator.specs[0].bits == bits
    assert torch.equal(one.state.theta, two.state.theta)


@pytest.mark.parametrize("by", ["aggregators", "both"])
def test_with_the_aggregators_noise_the_views_say_who_is_protected_from_whom(parties, tmp_path, by):
    config = tiny_config(
        *("aggregation.backend=smpc", f"noise.by={by}", "privacy.insecure_seed=null", "federation.rounds=2"),
        *("privacy.noise_multiplier=null", "privacy.epsilon=6"),
    )
    run_tiny(tmp_path / "run", config, parties)
    found = summary(read_ledger(tmp_path / "run" / "ledger.jsonl"), "rdp").views
    assert found.release.epsilon < found.aggregators.epsilon <= 6
    assert (found.local.epsilon is None) == (by == "aggregators")


def test_the_norm_check_takes_honest_updates_and_the_run_learns_from_them(parties, tmp_path):
    config = tiny_config(
        *("aggregation.backend=smpc", "aggregation.norm_check=true", "noise.by=aggregators", "privacy.unit=client"),
        *("privacy.insecure_seed=null", "federation.rounds=1"),
    )
    _, engine = run_tiny(tmp_path / "run", config, parties)
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert rows[1]["survivors"] == 8
    assert engine.plan.norm_bound == 2**20
    assert engine.plan.ring_bits == 64
