"""An audit of the whole pipe: what an attacker finds stays under the claimed epsilon, and planted faults do not.

Two thousand canaries a round and the one-run audit of `fl_core.privacy.one_run_audit`. Noise and coins are seeded, so
each outcome is fixed. Bounds are lower bounds: that they are under the claim proves nothing by itself, so every case
must also come to a good part of it, and every planted fault must come out above. `python -m bench.audit` plays the
same rounds, in every setting and with many seeds.
"""

from __future__ import annotations

import pytest

from bench.audit.faults import FAULTS
from bench.audit.rounds import CANARIES, CanaryRounds, Setting
from kernels import clip_and_sum_counted, squared_norms
from secagg import SmpcAggregator

INTEGERS = ("discrete_gaussian", "skellam")

SETTINGS = [
    *(Setting(mechanism, trust="central", parties=1) for mechanism in ("gaussian", *INTEGERS)),
    *(Setting(mechanism, trust="local", parties=1) for mechanism in ("gaussian", *INTEGERS)),
    *(Setting(mechanism, unit) for mechanism in ("gaussian", *INTEGERS) for unit in ("example", "client")),
    *(Setting(mechanism, unit, vanished=2) for mechanism in INTEGERS for unit in ("example", "client")),
    *(Setting(mechanism, dropout="xnoise", vanished=gone) for mechanism in INTEGERS for gone in (0, 2)),
    *(Setting(mechanism, by="aggregators") for mechanism in ("gaussian", *INTEGERS)),
    *(Setting(mechanism, by="both", vanished=2) for mechanism in INTEGERS),
]


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_what_an_attacker_finds_stays_under_the_claim(setting, tmp_path):
    played = CanaryRounds(setting, tmp_path, seed=1)
    found = played.audited(played.play())
    assert found.bound <= found.claimed
    # With noise of one clip norm the claim is 4 to 5. Noise by both is twice what either must be.
    assert found.bound > (0.15 if setting.by == "both" else 0.3) * found.claimed


def test_real_parties_are_audited_too(tmp_path):
    with SmpcAggregator(3, timeout_s=60) as aggregator:
        played = CanaryRounds(Setting(), tmp_path, seed=1, aggregator=aggregator)
        found = played.audited(played.play())
    assert 0.3 * found.claimed < found.bound <= found.claimed


def test_two_rounds_are_claimed_as_two(tmp_path):
    played = CanaryRounds(Setting(), tmp_path, seed=1)
    found = played.audited(played.play() - played.play(sign=-1))
    assert 0.3 * found.claimed < found.bound <= found.claimed


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_a_planted_fault_is_caught(fault, tmp_path):
    """The bound is above the claim, which is the same as without the fault."""
    found = fault.play(fault.setting, tmp_path, 1)
    assert found.bound > found.claimed


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault.setting.unit == "example"], ids=str)
def test_the_claim_beside_a_fault_is_the_honest_one(fault, tmp_path):
    for kind in ("planted", "honest"):
        (tmp_path / kind).mkdir()
    honest = CanaryRounds(fault.setting, tmp_path / "honest", seed=1)
    scores = honest.play()
    if "two rounds" in fault.name:
        scores = scores - honest.play(sign=-1)
    assert fault.play(fault.setting, tmp_path / "planted", 1).claimed == honest.audited(scores).claimed


def test_an_understated_norm_contributes_nothing_instead(tmp_path):
    """As a clip that misses a layer, a step earlier: the kernel checks what it rounded, whatever norm it was told."""

    def wrong_norms(rows, clip_norm, owners, scale, clients):
        rows = 5 * rows
        told = squared_norms(rows[:, : CANARIES // 2])
        return clip_and_sum_counted(rows, told, clip_norm, owners, scale, clients).total

    played = CanaryRounds(Setting(), tmp_path, seed=1, clip=wrong_norms)
    found = played.audited(played.play())
    assert found.bound < found.claimed
