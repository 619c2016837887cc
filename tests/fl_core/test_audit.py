"""An audit of the whole pipe: what an attacker finds stays under the claimed epsilon, and planted faults do not.

Two thousand canaries a round and the one-run audit of `fl_core.privacy.one_run_audit`. Noise and coins are seeded, so
each outcome is fixed. Bounds are lower bounds: that they are under the claim proves nothing by itself, so every case
must also come to a good part of it, and every planted fault must come out above.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fl_core import rounds
from fl_core.privacy.one_run_audit import audit_one_run
from kernels import clip_and_sum_counted, squared_norms
from secagg import SmpcAggregator
from tests.fl_core.canary_rounds import CANARIES, DELTA, CanaryRounds, Setting, coins
from tests.fl_core.three_parties import ThreeParties

INTEGERS = ("discrete_gaussian", "skellam")


def audited(played, included, scores, guesses=None):
    """The audit's bound and the claimed epsilon."""
    audit = audit_one_run(played.heard(scores), played.heard(included), DELTA, guesses, confidence=0.99)
    return audit.epsilon, played.epsilon()


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
    played, included = CanaryRounds(setting, tmp_path), coins(1)
    bound, claimed = audited(played, included, played.play(included, seed=2))
    assert bound <= claimed
    # With noise of one clip norm the claim is 4 to 5. Noise by both is twice what either must be.
    assert bound > (0.15 if setting.by == "both" else 0.3) * claimed


def test_real_parties_are_audited_too(tmp_path):
    with SmpcAggregator(3, timeout_s=60) as aggregator:
        played, included = CanaryRounds(Setting(), tmp_path, aggregator=aggregator), coins(1)
        bound, claimed = audited(played, included, played.play(included, seed=2))
    assert 0.3 * claimed < bound <= claimed


def test_two_rounds_are_claimed_as_two(tmp_path):
    played, included = CanaryRounds(Setting(), tmp_path), coins(1)
    scores = played.play(included, seed=2) - played.play(included, seed=3, sign=-1)
    bound, claimed = audited(played, included, scores)
    assert 0.3 * claimed < bound <= claimed


# Planted faults. Each is caught: the bound is above the claim, which is the same as without the fault.


@pytest.mark.parametrize("mechanism", ["gaussian", *INTEGERS])
@pytest.mark.parametrize("trust", ["central", "distributed"])
def test_noise_too_small_by_the_root_of_ten_is_caught(mechanism, trust, tmp_path):
    def too_small(noise):
        return replace(noise, client_std=noise.client_std / 10**0.5, server_std=noise.server_std / 10**0.5)

    setting = Setting(mechanism, trust=trust, parties=1 if trust == "central" else 3)
    played, included = CanaryRounds(setting, tmp_path, too_small), coins(1)
    bound, claimed = audited(played, included, played.play(included, seed=2))
    assert bound > claimed


def test_the_missing_share_of_the_only_honest_client_is_caught(tmp_path, monkeypatch):
    setting = Setting(vanished=4)  # two of six are left: one honest, one colluding
    config = setting.config
    played, included = CanaryRounds(setting, tmp_path), coins(1)
    assert config.n_min - config.federation.colluders == 1
    add = rounds._add_own_noise
    honest = []

    def without_the_first(vector, noise, own):
        honest.append(own)
        return () if own is honest[0] else add(vector, noise, own)

    monkeypatch.setattr(rounds, "_add_own_noise", without_the_first)
    bound, claimed = audited(played, included, played.play(included, seed=2))
    assert bound > claimed


def test_the_missing_share_of_the_only_honest_aggregator_is_caught(tmp_path):
    class PartyZeroAddsNothing(ThreeParties):
        def noise_of(self, party):
            return super().noise_of(party) if party else np.zeros(self.spec.length, dtype=np.int64)

    setting = Setting(by="aggregators")
    played, included = CanaryRounds(setting, tmp_path, aggregator=PartyZeroAddsNothing()), coins(1)
    bound, claimed = audited(played, included, played.play(included, seed=2))
    assert bound > claimed


@pytest.mark.parametrize("trust", ["central", "distributed"])
def test_a_reused_seed_is_caught(trust, tmp_path):
    setting = Setting(trust=trust, parties=1 if trust == "central" else 3)
    played, included = CanaryRounds(setting, tmp_path), coins(1)
    # The second model makes every contribution turn round; the same noise then falls out of the difference.
    scores = played.play(included, seed=2) - played.play(included, seed=2, sign=-1)
    # An attacker who is never wrong guesses half of the canaries: that bounds two rounds' larger claim with a margin.
    bound, claimed = audited(played, included, scores, CANARIES // 2)
    assert bound > claimed


def test_a_clip_that_misses_one_layer_is_caught(tmp_path):
    def first_layer_only(rows, clip_norm, owners, scale, clients):
        missed = CANARIES // 10  # where the second layer begins
        rows = 5 * rows  # long gradients, as private ones may be
        first = clip_and_sum_counted(
            rows[:, :missed], squared_norms(rows[:, :missed]), clip_norm, owners, scale, clients
        )
        second = torch.zeros(clients, CANARIES - missed, dtype=torch.int64)
        second.index_add_(0, owners, (rows[:, missed:] * scale).long())
        return torch.cat([first.total, second], 1)

    played, included = CanaryRounds(Setting(), tmp_path, clip=first_layer_only), coins(1)
    bound, claimed = audited(played, included, played.play(included, seed=2))
    assert bound > claimed


def test_an_understated_norm_contributes_nothing_instead(tmp_path):
    """The same fault a step earlier: the kernel checks what it rounded, whatever norm it was told."""

    def wrong_norms(rows, clip_norm, owners, scale, clients):
        rows = 5 * rows
        told = squared_norms(rows[:, : CANARIES // 2])
        return clip_and_sum_counted(rows, told, clip_norm, owners, scale, clients).total

    played, included = CanaryRounds(Setting(), tmp_path, clip=wrong_norms), coins(1)
    bound, claimed = audited(played, included, played.play(included, seed=2))
    assert bound < claimed
