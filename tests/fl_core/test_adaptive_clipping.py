"""The clip norm finds its quantile, every contribution keeps to the bound that the noise is sized for, and the price is
what was promised.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fl_core.adapters import flat_adapter
from fl_core.adaptive_clipping import (
    RoundClip,
    bit_steps,
    clip_of_round,
    joint_steps,
    next_clip_norm,
    signed_bits,
)
from fl_core.checkpoint import latest_checkpoint
from fl_core.cohort import Diagnostics, contributions
from fl_core.config import PrivacyConfig
from fl_core.privacy.ledger import read_ledger, summarise_ledger
from fl_core.privacy_plan import plan_privacy
from fl_core.tracking import read_metrics
from kernels import clip_and_sum_counted, squared_norms
from secagg.errors import SottoError
from secagg.randomness import Keystream
from secagg.smpc import SmpcAggregator
from tests.fl_core.tiny import run_tiny, tiny_config, tiny_task

ADAPTIVE = "privacy.clipping=adaptive"
SCALE = 2**20


@pytest.mark.parametrize("quantile", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_the_norm_finds_the_quantile_of_known_norms(quantile, noise):
    """Norms of 1,000 contributions are fixed; the opened coordinate has the noise of z = 1 where noise is asked for."""
    generator = np.random.default_rng(0)
    norms = generator.lognormal(0.5, 0.7, 1000)
    privacy = PrivacyConfig(clip_norm=0.1, clip_quantile=quantile, clip_learning_rate=0.2)
    steps = round(privacy.clip_norm * SCALE)
    bit = bit_steps(steps)
    norm, late = privacy.clip_norm, []
    for step in range(150):
        below = (norms <= norm).sum()
        drawn = generator.normal(0, noise * joint_steps(steps, bit)) if noise else 0.0
        norm = next_clip_norm(norm, round(float((2 * below - 1000) * bit + drawn)), 1000, bit, privacy)
        if step >= 100:
            late.append(float((norms <= norm).mean()))
    assert np.mean(late) == pytest.approx(quantile, abs=0.02)


def test_the_update_is_andrew_and_others_equation():
    privacy = PrivacyConfig(clip_norm=1.0, clip_quantile=0.5, clip_learning_rate=0.2)
    # 30 of 40 at most C: b = 0.75.
    assert next_clip_norm(2.0, (30 - 10) * 7, 40, 7, privacy) == pytest.approx(2.0 * math.exp(-0.2 * 0.25))


def test_the_norm_stays_within_a_thousandth_and_a_thousand_times_the_first():
    privacy = PrivacyConfig(clip_norm=1.0, clip_quantile=0.5, clip_learning_rate=50.0)
    norm = 1.0
    for _ in range(5):
        norm = next_clip_norm(norm, 10**12, 10, 5, privacy)
    assert norm == 1e-3
    for _ in range(5):
        norm = next_clip_norm(norm, -(10**12), 10, 5, privacy)
    assert norm == 1e3


@given(
    st.floats(1e-3, 1e3),
    st.floats(1e-3, 1e3),
    st.integers(10, 30),
    st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=12),
)
def test_a_contribution_with_its_bit_never_exceeds_the_bound_that_noise_is_sized_for(initial, factor, bits, values):
    steps_per_unit = 2**bits
    steps = math.floor(initial * steps_per_unit)
    if steps < 1:
        return
    bit = bit_steps(steps)
    clip = clip_of_round(initial, steps_per_unit, initial * factor, bit)
    gradient = torch.tensor([values], dtype=torch.float32)
    result = clip_and_sum_counted(gradient, squared_norms(gradient), clip.norm, scale=clip.scale)
    own = int(signed_bits(result.norms, result.accepted, clip)[0])
    square = sum(int(value) ** 2 for value in result.total.tolist()) + own**2
    assert square <= joint_steps(steps, bit) ** 2
    assert abs(own) == bit or (own == 0 and not result.total.any())


@given(st.integers(1, 2**40), st.integers(1, 2**37))
def test_the_joint_bound_is_the_least_whole_number_above_the_joint_norm(steps, bit):
    bound = joint_steps(steps, bit)
    assert bound**2 >= steps**2 + bit**2 > (bound - 1) ** 2


def test_a_contribution_that_counts_as_zero_has_no_bit():
    norms = torch.tensor([0.5, float("nan"), 3.0, 0.1], dtype=torch.float64)
    accepted = torch.tensor([True, False, True, False])
    assert signed_bits(norms, accepted, RoundClip(1.0, 8.0, 5)).tolist() == [5, 0, -5, 0]


def _totals(config, clip, poison=None):
    task = tiny_task(config, poison)
    clients = list(range(8))
    streams = [Keystream.seeded(0).child(client) for client in clients]
    parts = contributions(task, flat_adapter(task.model), clients, streams, config, clip, Diagnostics())
    return np.concatenate([part.totals for part in parts])


@pytest.mark.parametrize("unit", ["example", "client"])
def test_at_the_first_norm_contributions_are_those_of_fixed_clipping_and_their_bits(unit):
    config = tiny_config(f"privacy.unit={unit}")
    fixed = _totals(config, RoundClip(1.0, SCALE))
    bit = bit_steps(SCALE)
    adaptive = _totals(config, clip_of_round(1.0, SCALE, 1.0, bit))
    assert (adaptive[:, :-1] == fixed).all()
    assert (adaptive[:, -1] % bit == 0).all()
    assert adaptive[:, -1].any()


@pytest.mark.parametrize("unit", ["example", "client"])
def test_contributions_at_another_norm_are_scaled_to_the_first_one(unit):
    config = tiny_config(f"privacy.unit={unit}", "privacy.clip_norm=0.25")
    small = _totals(config, RoundClip(0.25, SCALE))
    sent = _totals(config, clip_of_round(1.0, SCALE, 0.25, bit_steps(SCALE)))
    np.testing.assert_allclose(sent[:, :-1] / 4, small, atol=40)


def test_bits_count_the_records_below_the_norm_and_no_poisoned_one():
    config = tiny_config("federation.sample_rate=1")
    bit = bit_steps(SCALE)
    clean = _totals(config, clip_of_round(1.0, SCALE, 1e3, bit))
    assert clean[:, -1].tolist() == [10 * bit] * 8
    poisoned = _totals(config, clip_of_round(1.0, SCALE, 1e3, bit), poison=3)
    assert poisoned[:, -1].tolist() == [9 * bit] + [10 * bit] * 7


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


def test_smpc_and_plaintext_follow_the_same_norms_and_end_at_the_same_bits(tmp_path):
    config = tiny_config(ADAPTIVE, "federation.rounds=3")
    _, plain = run_tiny(tmp_path / "plain", config)
    secure = tiny_config(ADAPTIVE, "federation.rounds=3", "aggregation.backend=smpc", "aggregation.parties=2")
    aggregator = SmpcAggregator(2)
    try:
        _, shared = run_tiny(tmp_path / "smpc", secure, aggregator)
    finally:
        aggregator.shutdown()
    assert torch.equal(plain.state.theta, shared.state.theta)
    assert plain.state.clip_norm == shared.state.clip_norm


def test_the_price_is_half_a_percent_of_noise_and_no_epsilon():
    fixed, adaptive = (plan_privacy(tiny_config(*some), 100, 80) for some in ([], [ADAPTIVE]))
    assert adaptive.length == 101
    assert adaptive.parameters == fixed.parameters == fixed.length == 100
    assert adaptive.noise_multiplier == fixed.noise_multiplier
    ratio = adaptive.noise.sum_std(8) / fixed.noise.sum_std(8)
    assert ratio == pytest.approx(math.sqrt(1.01), rel=1e-5)
    assert adaptive.noise.sum_multiplier(8) == pytest.approx(fixed.noise.sum_multiplier(8), rel=1e-6)


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

    from fl_core.engines import local

    def zeros(task, theta, clients, streams, config, clip, diagnostics):
        from fl_core.cohort import Contributions

        yield Contributions(tuple(clients), np.zeros((len(clients), len(theta) + 1), np.int64))

    monkeypatch.setattr(local, "contributions", zeros)
    stepped = local.LocalEngine._step

    def keep(self, number, opened):
        sums.append(np.array(opened.total))
        stepped(self, number, opened)

    monkeypatch.setattr(local.LocalEngine, "_step", keep)
    monkeypatch.setattr(local, "unmoved_weights", lambda *_: [])
    _, engine = run_tiny(tmp_path / "run", config)
    drawn = np.stack(sums) / engine.plan.noise.sum_std(8)
    # 400 draws a coordinate: a standard deviation within 15 % of 1 is 4 standard errors.
    assert drawn[:, -1].std() == pytest.approx(1.0, abs=0.15)
    assert drawn.std() == pytest.approx(1.0, abs=0.15 / math.sqrt(drawn.shape[1]))


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("privacy.clipping=adaptve", "privacy.clipping is 'adaptve'; allowed: fixed, adaptive"),
        ("privacy.clip_quantile=1", "privacy.clip_quantile is 1.0; allowed: above 0 and below 1"),
        ("privacy.clip_learning_rate=0", "privacy.clip_learning_rate is 0.0; allowed: a number above 0"),
    ],
)
def test_impossible_settings_are_refused_in_a_sentence(override, sentence):
    with pytest.raises(SottoError, match=sentence):
        tiny_config(override)
