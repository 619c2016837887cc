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
    FARTHEST,
    RoundClip,
    bit_steps,
    clip_of_round,
    joint_steps,
    next_clip_norm,
    signed_bits,
)
from fl_core.cohort import Diagnostics, cohort_contributions
from fl_core.config import PrivacyConfig
from fl_core.config_check import privacy as privacy_check
from fl_core.privacy_plan import plan_privacy
from kernels import clip_and_sum_counted, squared_norms
from secagg.errors import SottoError
from secagg.randomness import Keystream
from tests.fl_core.tiny import tiny_config, tiny_task

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


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9])
def test_a_few_contributions_and_much_noise_still_find_the_quantile_on_average(quantile):
    """Ten coins a round: the fraction's noise is 0.5, so that one cut to 0..1 would never show a fraction of 0.9."""
    generator = np.random.default_rng(0)
    norms = generator.lognormal(0.0, 1.0, 2000)
    privacy = PrivacyConfig(clip_norm=1.0, clip_quantile=quantile, clip_learning_rate=0.05)
    bit = bit_steps(SCALE)
    norm, late = 1.0, []
    for step in range(3000):
        taken = generator.choice(norms, generator.poisson(10))
        drawn = generator.normal(0, joint_steps(SCALE, bit))
        norm = next_clip_norm(norm, round((2 * (taken <= norm).sum() - len(taken)) * bit + drawn), 10, bit, privacy)
        if step >= 500:
            late.append(float((norms <= norm).mean()))
    assert np.mean(late) == pytest.approx(quantile, abs=0.03)


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
    if steps < 10:
        return
    bit = bit_steps(steps)
    clip = clip_of_round(initial, steps_per_unit, initial * factor, bit)
    gradient = torch.tensor([values], dtype=torch.float32)
    result = clip_and_sum_counted(gradient, squared_norms(gradient), clip.norm, scale=clip.scale)
    own = int(signed_bits(result.norms, result.accepted, clip)[0])
    square = sum(int(value) ** 2 for value in result.total.tolist()) + own**2
    assert square <= joint_steps(steps, bit) ** 2
    assert abs(own) == bit or (own == 0 and not result.total.any())


@given(st.floats(1e-6, 1e4), st.floats(1e-3, 1e3), st.integers(4, 40))
def test_the_kernels_bound_is_the_first_rounds_in_every_round(initial, factor, bits):
    if not 10 <= initial * 2**bits <= 2**39:
        return
    clip = clip_of_round(initial, 2**bits, initial * factor, 1)
    assert math.floor(clip.norm * clip.scale) == math.floor(initial * 2**bits)
    assert clip.scale == pytest.approx(2**bits / factor, rel=1e-9)


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
    theta = flat_adapter(task.model)
    return cohort_contributions(task, theta, clients, streams, config, clip, Diagnostics()).totals


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


def test_a_record_moves_the_sum_by_at_most_the_joint_bound_once_the_norm_has_moved():
    config = tiny_config(ADAPTIVE, "federation.sample_rate=1", "privacy.clip_norm=0.25")
    steps = SCALE // 4
    clip = clip_of_round(0.25, SCALE, 0.04, bit_steps(steps))
    moved = _totals(config, clip).sum(0) - _totals(config, clip, poison=7).sum(0)
    assert 0 < sum(int(v) ** 2 for v in moved) <= joint_steps(steps, bit_steps(steps)) ** 2


def test_the_price_is_half_a_percent_of_noise_and_no_epsilon():
    fixed, adaptive = (plan_privacy(tiny_config(*some), 100, 80) for some in ([], [ADAPTIVE]))
    assert adaptive.length == 101
    assert adaptive.parameters == fixed.parameters == fixed.length == 100
    assert adaptive.noise_multiplier == fixed.noise_multiplier
    ratio = adaptive.noise.sum_std(8) / fixed.noise.sum_std(8)
    assert ratio == pytest.approx(math.sqrt(1.01), rel=1e-5)
    assert adaptive.noise.sum_multiplier(8) == pytest.approx(fixed.noise.sum_multiplier(8), rel=1e-6)


def test_unrounded_noise_grows_by_exactly_the_joint_factor():
    some = ("privacy.mechanism=gaussian", "privacy.clip_norm=0.7")
    fixed, adaptive = (plan_privacy(tiny_config(*some, *more), 100, 80).noise for more in ([], [ADAPTIVE]))
    steps = math.floor(0.7 * SCALE)
    assert fixed.clip_steps == steps
    assert adaptive.client_std / fixed.client_std == pytest.approx(
        joint_steps(steps, bit_steps(steps)) / steps, rel=1e-14
    )


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["privacy.clipping=adaptve"], "privacy.clipping is 'adaptve'; allowed: fixed, adaptive"),
        (["privacy.clip_quantile=1"], "privacy.clip_quantile is 1.0; allowed: above 0 and below 1"),
        (["privacy.clip_quantile=.nan"], "privacy.clip_quantile is nan"),
        ([ADAPTIVE, "privacy.clip_norm=1e-7", "privacy.scale_bits=40"], "above 1e-06 .the norm may fall to a thou"),
        ([ADAPTIVE, "privacy.clip_norm=0.25", "privacy.scale_bits=5"], "is 8.0 while privacy.clipping is adaptive"),
        ([ADAPTIVE, "privacy.clip_norm=1", "privacy.scale_bits=40"], "allowed: 10 to 2.39 grid steps"),
        (["privacy.clip_learning_rate=0"], "privacy.clip_learning_rate is 0.0; allowed: a number above 0"),
    ],
)
def test_impossible_settings_are_refused_in_a_sentence(overrides, sentence):
    with pytest.raises(SottoError, match=sentence):
        tiny_config(*overrides)


def test_the_smallest_first_norm_may_fall_to_the_kernels_smallest():
    assert privacy_check.FARTHEST == FARTHEST
    tiny_config(ADAPTIVE, "privacy.clip_norm=1.001e-6", "privacy.scale_bits=40")
