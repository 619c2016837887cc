"""What is counted is what was realised: by each giver of noise, at each number of survivors, against each adversary."""

from __future__ import annotations

import pytest

from fl_core.budget import Budget
from fl_core.privacy.ledger import Ledger, summary
from fl_core.privacy.views import VIEWS
from fl_core.privacy_plan import ledger_header, ledger_opening, plan_privacy
from fl_core.shared_budget import BudgetExhausted
from tests.fl_core.tiny import tiny_config

BASE = (
    "aggregation.backend=smpc",
    "privacy.insecure_seed=null",
    "privacy.noise_multiplier=null",
    "privacy.epsilon=3",
    "federation.n_min=4",
    "federation.colluders=1",
    "federation.sample_rate=1",
)


def open_run(tmp_path, *overrides):
    config = tiny_config(*BASE, *overrides)
    plan = plan_privacy(config, 100, 80)
    ledger = Ledger.create(tmp_path / "ledger.jsonl", ledger_header(config, plan, "run"))
    return config, plan, ledger


@pytest.mark.parametrize("mechanism", ["discrete_gaussian", "skellam"])
@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["noise.dropout=xnoise"],
        ["noise.by=aggregators"],
        ["noise.by=both", "noise.dropout=xnoise"],
        ["privacy.trust=central"],
        ["privacy.trust=local"],
        ["aggregation.backend=plaintext"],
    ],
)
def test_the_running_count_agrees_with_the_ledger_after_every_opening(tmp_path, mechanism, overrides):
    config, plan, ledger = open_run(tmp_path, f"privacy.mechanism={mechanism}", *overrides)
    with ledger:
        budget = Budget(config, plan, ledger)
        for number, survivors in enumerate((8, 4, 6, 5)):
            budget.check(survivors)
            ledger.append(ledger_opening(plan, number, 0, frozenset(range(survivors))))
            budget.count(number, survivors)
            found = summary(ledger.contents, "rdp").views
            for view in VIEWS:
                epsilon = getattr(found, view).epsilon
                assert budget.epsilons()[view] == (None if epsilon is None else pytest.approx(epsilon, rel=1e-9))
        assert Budget(config, plan, ledger).epsilons() == pytest.approx(budget.epsilons())


def test_noise_of_aggregators_leaves_the_local_view_without_an_epsilon(tmp_path):
    config, plan, ledger = open_run(tmp_path, "noise.by=aggregators")
    with ledger:
        budget = Budget(config, plan, ledger)
        budget.count(0, 4)
        found = budget.epsilons()
    assert found["local"] is None
    assert found["release"] < found["aggregators"] < 3


@pytest.mark.parametrize(
    ("overrides", "more"),
    [([], True), (["noise.dropout=xnoise", "federation.colluders=0"], False), (["noise.by=aggregators"], False)],
)
def test_rounds_beyond_the_plan_are_paid_for_only_by_survivors_that_added_more_noise(tmp_path, overrides, more):
    config, plan, ledger = open_run(tmp_path, *overrides)
    with ledger:
        budget = Budget(config, plan, ledger)
        for number in range(config.federation.rounds):
            budget.check(8)
            budget.count(number, 8)
        if more:
            budget.check(8)
        else:
            with pytest.raises(BudgetExhausted, match="in the aggregators view, privacy.epsilon is 3"):
                budget.check(8)
        assert budget.openings_of(0) == 1
