"""The noise that is planned meets the target in the view that limits it, and every weakness becomes a warning."""

from __future__ import annotations

import math

import pytest

from fl_core.privacy.ledger import opening_event, standing_warnings
from fl_core.privacy.views import views
from fl_core.privacy_plan import budget_view, ledger_header, plan_privacy
from secagg.errors import EncodingError, SottoError
from secagg.messages import RoundNoise
from tests.fl_core.tiny import tiny_config

TARGET = ("privacy.noise_multiplier=null", "privacy.epsilon=2", "privacy.insecure_seed=null")
SMPC = ("aggregation.backend=smpc", "privacy.insecure_seed=null")


def spent(config, plan, survivors):
    """Views of all rounds with `survivors` messages in each sum, by what the ledger's header says."""
    header = ledger_header(config, plan, "run")
    event = opening_event(header, survivors, plan.noise.sum_multiplier(survivors), config.federation.rounds)
    p = config.privacy
    return views([event], p.delta, "rdp", "zero_out", p.unit, p.trust, config.aggregation.backend)


@pytest.mark.parametrize("mechanism", ["gaussian", "discrete_gaussian", "skellam"])
@pytest.mark.parametrize(
    ("overrides", "view"),
    [
        (["aggregation.backend=smpc", "federation.n_min=6", "federation.colluders=2"], "aggregators"),
        (["aggregation.backend=smpc", "federation.n_min=3", "noise.by=aggregators"], "aggregators"),
        (
            ["aggregation.backend=smpc", "federation.n_min=3", "noise.by=aggregators", "aggregation.parties=5"],
            "aggregators",
        ),
        (["aggregation.backend=plaintext"], "release"),
        (["privacy.trust=central"], "release"),
        (["privacy.trust=local"], "local"),
    ],
)
def test_the_target_is_met_closely_in_the_view_that_limits_it(mechanism, overrides, view):
    config = tiny_config(*TARGET, f"privacy.mechanism={mechanism}", *overrides)
    plan = plan_privacy(config, 100, 80)
    assert budget_view(config) == view
    epsilon = getattr(spent(config, plan, config.n_min), view).epsilon
    assert 1.99 < epsilon <= 2


@pytest.mark.parametrize("mechanism", ["discrete_gaussian", "skellam"])
@pytest.mark.parametrize("colluders", [0, 2])
def test_xnoise_meets_the_target_at_every_drop_out_and_closely_at_the_largest(mechanism, colluders):
    config = tiny_config(
        *TARGET,
        "aggregation.backend=smpc",
        "noise.dropout=xnoise",
        "federation.n_min=4",
        f"federation.colluders={colluders}",
        f"privacy.mechanism={mechanism}",
    )
    plan = plan_privacy(config, 100, 80)
    found = [spent(config, plan, survivors).aggregators.epsilon for survivors in range(4, 9)]
    assert 1.99 < found[0] <= 2
    assert all(epsilon <= 2 for epsilon in found)
    if not colluders:
        assert found == pytest.approx([found[0]] * 5, rel=1e-3)


def test_with_noise_by_both_each_of_the_two_meets_the_target_alone():
    base = (*TARGET, "aggregation.backend=smpc", "federation.n_min=4")
    both, clients, aggregators = (tiny_config(*base, f"noise.by={by}") for by in ("both", "clients", "aggregators"))
    plans = [plan_privacy(config, 100, 80) for config in (both, clients, aggregators)]
    assert plans[0].noise.client_std == plans[1].noise.client_std
    assert plans[0].noise.aggregator_std == plans[2].noise.aggregator_std
    found = [
        spent(config, plan, 4).aggregators.epsilon
        for config, plan in zip((both, clients, aggregators), plans, strict=True)
    ]
    assert 1.99 < found[1] <= 2
    assert 1.99 < found[2] <= 2
    assert found[0] < 0.8 * found[1]


def test_more_survivors_than_n_min_only_lower_the_epsilon():
    config = tiny_config(*TARGET, "aggregation.backend=smpc", "federation.n_min=5", "federation.colluders=1")
    plan = plan_privacy(config, 100, 80)
    found = [spent(config, plan, survivors).aggregators.epsilon for survivors in (5, 6, 8)]
    assert found == sorted(found, reverse=True)
    assert found[0] <= 2


def test_aggregators_are_told_what_they_add_and_remove():
    config = tiny_config(*SMPC, "noise.by=both", "noise.dropout=xnoise", "federation.n_min=5")
    plan = plan_privacy(config, 100, 80)
    told = plan.round_noise()
    assert told == RoundNoise("discrete_gaussian", plan.noise.clip_steps, plan.noise.components)
    assert len(told.components) == 4
    plain = plan_privacy(tiny_config(*SMPC), 100, 80)
    assert plain.round_noise() == RoundNoise()
    central = plan_privacy(tiny_config("privacy.trust=central"), 100, 80)
    assert central.round_noise() == RoundNoise(), "the server's noise is not the aggregators'"


@pytest.mark.parametrize(
    "overrides",
    [
        ["federation.n_min=2"],
        ["federation.n_min=2", "noise.by=both"],
        ["federation.n_min=2", "noise.dropout=xnoise"],
        ["privacy.trust=local"],
        ["privacy.trust=central"],
        ["privacy.trust=none", "privacy.noise_multiplier=null"],
    ],
)
def test_the_ring_is_the_narrowest_that_holds_every_sum_with_its_noise(overrides):
    config = tiny_config(*SMPC, *overrides)
    plan = plan_privacy(config, 100, 80)
    most = max(plan.noise.sum_std(survivors) for survivors in range(config.n_min, 9))
    largest = 80 * 2**20 + 12 * most
    assert 2 ** (plan.ring_bits - 2) <= largest < 2 ** (plan.ring_bits - 1)


def test_a_wider_ring_may_be_chosen_and_a_narrower_one_is_refused():
    narrowest = plan_privacy(tiny_config(*SMPC), 100, 80).ring_bits
    for chosen in (narrowest, 40, 64):
        assert plan_privacy(tiny_config(*SMPC, f"aggregation.ring_bits={chosen}"), 100, 80).ring_bits == chosen
    with pytest.raises(
        EncodingError, match=f"aggregation.ring_bits is 20, .* need {narrowest}; allowed: {narrowest} to 64"
    ):
        plan_privacy(tiny_config(*SMPC, "aggregation.ring_bits=20"), 100, 80)


def test_a_norm_check_has_the_clip_norm_for_a_bound_and_the_whole_ring():
    checked = tiny_config(
        *SMPC, "privacy.unit=client", "aggregation.norm_check=true", "noise.by=aggregators", "privacy.clip_norm=0.3"
    )
    plan = plan_privacy(checked, 100, 8)
    assert plan.norm_bound == plan.noise.clip_steps == math.floor(0.3 * 2**20)
    assert plan.ring_bits == 64
    assert plan_privacy(tiny_config(*SMPC), 100, 80).norm_bound == 0


def test_sums_that_would_wrap_are_refused():
    with pytest.raises(EncodingError, match="scale_bits"):
        plan_privacy(tiny_config("privacy.scale_bits=40"), 100, 2**24)


def test_xnoise_for_too_many_clients_is_refused_where_the_noise_is_planned():
    config = tiny_config(*SMPC, "federation.clients=2000", "federation.n_min=1000", "noise.dropout=xnoise")
    with pytest.raises(SottoError, match="noise.dropout to oversize"):
        plan_privacy(config, 100, 2000)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["privacy.insecure_seed=3"], "seed"),
        (["privacy.trust=none", "privacy.noise_multiplier=null"], "No noise"),
        (["privacy.trust=central"], "trust central"),
        (["aggregation.backend=plaintext"], "only the local view holds"),
        (["privacy.mechanism=gaussian"], "idealised"),
        (["simulation.noise=aggregate"], "simulation drew the noise"),
        (["simulation.dropout=0.1", "federation.n_min=2"], "vanished with probability 0.1"),
        (["noise.by=aggregators"], "if all aggregators collude"),
    ],
)
def test_every_weakness_is_a_warning_in_the_ledger(overrides, says):
    quiet = tiny_config(*SMPC)
    assert standing_warnings(ledger_header(quiet, plan_privacy(quiet, 100, 80), "run")) == ()
    config = tiny_config(*SMPC, *overrides)
    found = standing_warnings(ledger_header(config, plan_privacy(config, 100, 80), "run"))
    assert any(says in text for text in found)


def test_no_noise_at_all_is_not_said_to_be_drawn_at_once():
    config = tiny_config(*SMPC, "privacy.trust=none", "privacy.noise_multiplier=null", "simulation.noise=aggregate")
    found = standing_warnings(ledger_header(config, plan_privacy(config, 100, 80), "run"))
    assert found == ("No noise was added (trust none), so this run is non-private.",)


@pytest.mark.parametrize("overrides", [["noise.by=both"], ["noise.dropout=xnoise"]])
def test_noise_that_outlives_drop_outs_needs_no_warning(overrides):
    config = tiny_config(*SMPC, "federation.n_min=5", *overrides)
    assert standing_warnings(ledger_header(config, plan_privacy(config, 100, 80), "run")) == ()
