"""Rounds with adaptive clipping: the norm that they follow, the bound that they keep, and the noise that is opened."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from fl_core.adaptive_clipping import bit_steps, joint_steps
from fl_core.checkpoint import latest_checkpoint, save_checkpoint
from fl_core.privacy.ledger import read_ledger, summarise_ledger
from fl_core.tracking import read_metrics
from secagg import PlaintextAggregator
from secagg.errors import SottoError
from tests.fl_core.tiny import run_tiny, tiny_config, tiny_task

ADAPTIVE = "privacy.clipping=adaptive"


@pytest.mark.parametrize("unit", ["example", "client"])
def test_drop_outs_do_not_drive_the_norm_away(tmp_path, unit):
    """With 0.4 of the clients gone, a fraction of all that were expected is 0.8 at most, and 0.9 never reached."""
    config = tiny_config(
        ADAPTIVE,
        f"privacy.unit={unit}",
        "privacy.trust=none",
        "privacy.noise_multiplier=null",
        "privacy.clip_quantile=0.9",
        "privacy.clip_norm=1000",
        "privacy.clip_learning_rate=1",
        "federation.sample_rate=1",
        "federation.rounds=8",
        "federation.n_min=1",
        "simulation.dropout=0.4",
    )
    run_tiny(tmp_path / "run", config)
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")[1:]
    assert min(row["survivors"] for row in rows) < 7
    # All norms are below: the fraction is 1, whoever dropped out, and the norm falls by exp(-0.1).
    for number, row in enumerate(rows):
        assert row["clip_norm"] == pytest.approx(1000 * math.exp(-0.1 * number))


@pytest.mark.parametrize("unit", ["example", "client"])
def test_a_resumed_run_equals_the_uninterrupted_one_bit_for_bit(tmp_path, unit):
    config = tiny_config(ADAPTIVE, f"privacy.unit={unit}")
    _, whole = run_tiny(tmp_path / "whole", config)

    def stop(report):
        if report.round == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_tiny(tmp_path / "parts", config, on_round=stop)
    _, parts = run_tiny(tmp_path / "parts", config, resume=True)
    assert torch.equal(whole.state.theta, parts.state.theta)
    assert whole.state.clip_norm == parts.state.clip_norm != config.privacy.clip_norm
    assert latest_checkpoint(tmp_path / "parts" / "checkpoints").clip_norm == whole.state.clip_norm
    norms = [row.get("clip_norm") for row in read_metrics(tmp_path / "parts" / "metrics.jsonl")]
    assert norms[0] is None
    assert norms[1] == config.privacy.clip_norm
    assert len(set(norms[1:])) == len(norms) - 1


def recorded(aggregator, monkeypatch):
    """The list that every sum the aggregator opens will be in."""
    sums, close = [], aggregator.close

    def recording(before_opening=None):
        opened = close(before_opening)
        sums.append(opened.total.copy())
        return opened

    monkeypatch.setattr(aggregator, "close", recording)
    return sums


@pytest.mark.parametrize("unit", ["example", "client"])
def test_smpc_and_plaintext_open_the_same_sums_and_follow_the_same_norms(parties, monkeypatch, tmp_path, unit):
    some = (ADAPTIVE, f"privacy.unit={unit}", "federation.rounds=3")
    plaintext = PlaintextAggregator()
    opened = recorded(plaintext, monkeypatch)
    _, plain = run_tiny(tmp_path / "plain", tiny_config(*some), plaintext)
    securely = recorded(parties, monkeypatch)
    _, shared = run_tiny(tmp_path / "smpc", tiny_config(*some, "aggregation.backend=smpc"), parties)
    assert len(opened) == len(securely) == 3
    for one, two in zip(opened, securely, strict=True):
        assert len(one) == plain.plan.parameters + 1
        assert one.tobytes() == two.tobytes()
    assert torch.equal(plain.state.theta, shared.state.theta)
    assert plain.state.clip_norm == shared.state.clip_norm


def test_honest_updates_pass_the_norm_check_whose_bound_is_the_joint_one(parties, tmp_path):
    some = ("privacy.unit=client", "aggregation.norm_check=true", "noise.by=aggregators", "privacy.insecure_seed=null")
    # Every update is far above the norm, and every client takes part.
    all_clipped = ("privacy.clip_norm=0.01", "federation.sample_rate=1", "federation.rounds=2")
    config = tiny_config(ADAPTIVE, *some, *all_clipped, "aggregation.backend=smpc")
    _, engine = run_tiny(tmp_path / "run", config, parties)
    steps = math.floor(0.01 * 2**20)
    assert engine.plan.norm_bound == joint_steps(steps, bit_steps(steps))
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")[1:]
    assert [row["survivors"] for row in rows] == [8, 8]
    assert all("refused" not in row for row in rows)
    assert [row["simulation/clipped"] for row in rows] == [1, 1]


def test_a_record_moves_the_opened_sum_by_at_most_the_joint_bound(monkeypatch, tmp_path):
    """Zero-out neighbours with equal noise."""
    config = tiny_config(ADAPTIVE, "federation.sample_rate=1", "federation.rounds=1", "privacy.clip_norm=0.25")
    one, other = PlaintextAggregator(), PlaintextAggregator()
    sums = [recorded(one, monkeypatch), recorded(other, monkeypatch)]
    _, engine = run_tiny(tmp_path / "with", config, one)
    run_tiny(tmp_path / "without", config, other, task=tiny_task(config, poison=7))
    difference = [int(a) - int(b) for a, b in zip(sums[0][0], sums[1][0], strict=True)]
    assert abs(difference[-1]) == engine.plan.bit
    assert sum(v * v for v in difference) <= engine.plan.noise.clip_steps**2


def test_checkpoints_of_fixed_clipping_are_those_of_old_and_damaged_norms_are_refused(tmp_path):
    _, engine = run_tiny(tmp_path / "fixed", tiny_config("federation.rounds=1"))
    (file,) = (tmp_path / "fixed" / "checkpoints").iterdir()
    assert b"clip_norm" not in file.read_bytes()
    assert latest_checkpoint(tmp_path / "fixed" / "checkpoints").clip_norm is None
    assert all("clip_norm" not in row for row in read_metrics(tmp_path / "fixed" / "metrics.jsonl"))
    with pytest.raises(SottoError, match="the checkpoint of round 1 has no clip norm"):
        run_tiny(tmp_path / "fixed", tiny_config(ADAPTIVE, "federation.rounds=2"), resume=True)
    for damaged in (-1.0, 0.0, math.inf, math.nan):
        save_checkpoint(file.parent, dataclasses.replace(engine.state, clip_norm=damaged))
        with pytest.raises(SottoError, match="holds a clip norm of"):
            latest_checkpoint(file.parent)


def test_a_round_that_opens_nothing_leaves_the_norm_where_it_is(tmp_path):
    config = tiny_config(ADAPTIVE, "simulation.dropout=0.6", "federation.n_min=6", "federation.rounds=4")
    _, engine = run_tiny(tmp_path / "run", config)
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")[1:]
    norms = [row["clip_norm"] for row in rows] + [engine.state.clip_norm]
    for row, before, after in zip(rows, norms[:-1], norms[1:], strict=True):
        assert (before == after) == ("message" in row)
    assert any("message" in row for row in rows)


@pytest.mark.parametrize("unit", ["example", "client"])
def test_the_ledger_of_an_adaptive_run_gives_the_epsilons_of_a_fixed_one(tmp_path, unit):
    found = []
    for name, overrides in (("fixed", []), ("adaptive", [ADAPTIVE])):
        run_tiny(tmp_path / name, tiny_config(f"privacy.unit={unit}", *overrides))
        contents = read_ledger(tmp_path / name / "ledger.jsonl")
        found.append(summarise_ledger(contents)["views"])
    for view in found[0]:
        assert found[1][view]["epsilon"] == pytest.approx(found[0][view]["epsilon"], rel=1e-4)
    assert contents.header.clip_norm == pytest.approx(math.sqrt(1.01), rel=1e-5)


def test_the_opened_sum_has_the_noise_of_the_ledger_in_every_coordinate(tmp_path, monkeypatch):
    """Zero contributions: what is opened is noise, the extra coordinate's as large as the others'."""
    config = tiny_config(ADAPTIVE, "federation.rounds=400", "server.learning_rate=1e-9")
    sums = []

    from fl_core.engines import cohort_work, round_loop

    def zeros(task, theta, clients, streams, config, clip, diagnostics, summed):
        from fl_core.cohort import Contributions

        return Contributions(tuple(clients), np.zeros((1 if summed else len(clients), len(theta) + 1), np.int64))

    monkeypatch.setattr(cohort_work, "cohort_contributions", zeros)
    stepped = round_loop.RoundLoop._step

    def keep(self, number, opened):
        sums.append(np.array(opened.total))
        stepped(self, number, opened)

    monkeypatch.setattr(round_loop.RoundLoop, "_step", keep)
    monkeypatch.setattr(round_loop, "unmoved_weights", lambda *_: [])
    _, engine = run_tiny(tmp_path / "run", config)
    drawn = np.stack(sums) / engine.plan.noise.sum_std(8)
    # 400 draws a coordinate: a standard deviation within 15 % of 1 is 4 standard errors.
    assert drawn[:, -1].std() == pytest.approx(1.0, abs=0.15)
    assert drawn.std() == pytest.approx(1.0, abs=0.15 / math.sqrt(drawn.shape[1]))
