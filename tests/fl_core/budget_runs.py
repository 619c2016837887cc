"""Runs of a shared budget as the round loop runs them, without the training."""

from __future__ import annotations

import pytest

from fl_core.budget import Budget
from fl_core.privacy.ledger import Ledger
from fl_core.privacy_plan import ledger_header, ledger_opening, plan_privacy
from fl_core.shared_budget import BudgetExhausted
from fl_core.task import Protected
from tests.fl_core.tiny import tiny_config

DELTA = 1e-3
IMAGES = Protected("mnist", "an image", "a client's images")


def config_of(budget, *overrides):
    """Six rounds of eight clients; alone they reach an epsilon of about 3.9 in the aggregators' view."""
    base = ("aggregation.backend=smpc", "privacy.insecure_seed=null", "federation.sample_rate=1", "federation.n_min=4")
    return tiny_config(*base, "privacy.noise_multiplier=3", f"privacy.budget={budget}", *overrides)


class Run:
    """One run of a budget as the round loop runs it, without the training."""

    def __init__(self, folder, budget, *overrides, protected=IMAGES, run=None):
        self.config = config_of(budget, *overrides)
        self.plan = plan_privacy(self.config, 10, 80)
        self.path = folder / "ledger.jsonl"
        if self.path.exists():
            self.ledger = Ledger.resume(self.path)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            header = ledger_header(self.config, self.plan, run or folder.name, protected=protected)
            self.ledger = Ledger.create(self.path, header)
        self.opened = 0
        try:
            self.budget = Budget(self.config, self.plan, self.ledger)
        except BaseException:
            self.ledger.close()
            raise

    def open(self, survivors=8):
        number = len(self.ledger.openings)
        with self.budget.claim(number, survivors):
            self.ledger.append(ledger_opening(self.plan, number, 0, frozenset(range(survivors))))
        self.opened += 1  # only here would the sum be opened

    def open_all(self):
        """Until the budget refuses; its sentence."""
        with pytest.raises(BudgetExhausted) as refused:
            while self.opened < 100:
                self.open()
        return str(refused.value)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ledger.close()
