"""The noise that is planned meets the target in the view that limits it, and every weakness becomes a warning."""

from __future__ import annotations

import pytest

from fl_core.privacy.events import MechanismEvent
from fl_core.privacy.ledger import standing_warnings
from fl_core.privacy.views import views
from fl_core.privacy_plan import budget_view, ledger_header, plan_privacy
from secagg.errors import EncodingError
from tests.fl_core.tiny import tiny_config

TARGET = ("privacy.noise_multiplier=null", "privacy.epsilon=2", "privacy.insecure_seed=null")


def spent(config, plan, survivors):
    """Views of all rounds with `survivors` messages in each sum, by the accountant itself."""
    n = config.federation.clients
    event = MechanismEvent(
        config.privacy.mechanism,
        plan.noise.sum_multiplier(n),
        config.federation.rounds,
        config.federation.sample_rate,
        clients=n,
        survivors=survivors,
        colluders=config.federation.colluders,
        dimension=plan.length,
        scale=plan.noise.clip_steps,
    )
    p = config.privacy
    return views([event], p.delta, "rdp", "zero_out", p.unit, p.trust, config.aggregation.backend)


@pytest.mark.parametrize("mechanism", ["gaussian", "discrete_gaussian"])
@pytest.mark.parametrize(
    ("overrides", "view"),
    [
        (["aggregation.backend=smpc", "federation.n_min=6", "federation.colluders=2"], "aggregators"),
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


def test_more_survivors_than_n_min_only_lower_the_epsilon():
    config = tiny_config(*TARGET, "aggregation.backend=smpc", "federation.n_min=5", "federation.colluders=1")
    plan = plan_privacy(config, 100, 80)
    found = [spent(config, plan, survivors).aggregators.epsilon for survivors in (5, 6, 8)]
    assert found == sorted(found, reverse=True)
    assert found[0] <= 2


def test_sums_that_would_wrap_are_refused():
    with pytest.raises(EncodingError, match="scale_bits"):
        plan_privacy(tiny_config("privacy.scale_bits=40"), 100, 2**24)


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
    ],
)
def test_every_weakness_is_a_warning_in_the_ledger(overrides, says):
    quiet = tiny_config("privacy.insecure_seed=null", "aggregation.backend=smpc")
    assert standing_warnings(ledger_header(quiet, plan_privacy(quiet, 100, 80), "run")) == ()
    config = tiny_config("privacy.insecure_seed=null", "aggregation.backend=smpc", *overrides)
    found = standing_warnings(ledger_header(config, plan_privacy(config, 100, 80), "run"))
    assert any(says in text for text in found)
