"""The running count of what a run has spent, and the rules that stop it: `privacy.epsilon`, and a budget it may share.

Adds the Renyi divergences of every opening in the ledger at fixed orders, so that adding a round costs
microseconds. Sums of RDP at fixed orders stay valid when later rounds depend on earlier outputs (Feldman and Zrnic
2021), which makes them a stop rule; the reported epsilons come from the ledger by `fl_core.privacy.views`. An opening
beyond either bound is never let through, and one that was counted is never taken back.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fl_core.config import RunConfig
from fl_core.privacy.joint import rdp_by_view
from fl_core.privacy.ledger import Ledger, opening_event
from fl_core.privacy.rdp import ORDERS, epsilon_from_rdp
from fl_core.privacy.views import VIEWS
from fl_core.privacy_plan import PrivacyPlan, budget_view, target_epsilon
from fl_core.shared_budget import TOLERANCE, BudgetExhausted, SharedBudget

__all__ = ["Budget"]


class Budget:
    """What was opened so far, by view.

    Args:
        config: target epsilon, delta, trust, backend, shared budget.
        plan: the noise in force.
        ledger: openings of earlier sessions of this run are counted from it.

    Raises:
        SottoError: as `SharedBudget`, if the run shares a budget.
    """

    def __init__(self, config: RunConfig, plan: PrivacyPlan, ledger: Ledger) -> None:
        self._config, self._plan, self._header = config, plan, ledger.header
        self._openings: Counter[int] = Counter()
        self._spent = {view: np.zeros(len(ORDERS)) for view in VIEWS}
        for opening in ledger.openings:
            self.count(opening.round, opening.survivors)
        self._shared: SharedBudget | None = None
        if config.privacy.budget is not None:
            # The more survivors, the more noise: nothing costs less than an opening with all clients.
            first = self._after(config.federation.clients)
            self._shared = SharedBudget(Path(config.privacy.budget), ledger, first)

    @contextmanager
    def claim(self, number: int, survivors: int) -> Iterator[None]:
        """Refuse an opening of round `number` with `survivors` messages, or let the block write the ledger's entry.

        Raises:
            BudgetExhausted: if it would exceed the target, or what this run's shared budget leaves.
            SottoError: if a ledger of the shared budget cannot be read any more.
        """
        self.check(survivors)
        with nullcontext() if self._shared is None else self._shared.claim(self._after(survivors)):
            yield
        self.count(number, survivors)

    def check(self, survivors: int) -> None:
        """Refuse an opening with `survivors` messages if it would exceed the target.

        Raises:
            BudgetExhausted: with the epsilon that it would have reached.
        """
        target = target_epsilon(self._config)
        if target is None:
            return
        view = budget_view(self._config)
        after = epsilon_from_rdp(self._after(survivors)[view], self._config.privacy.delta)
        if after > target * (1 + TOLERANCE):
            raise BudgetExhausted(
                f"stopped by the budget: one more opening would reach epsilon {after:.4f} in the {view} view, "
                f"privacy.epsilon is {target}"
            )

    def count(self, number: int, survivors: int) -> None:
        """Count an opening of round `number`."""
        self._openings[number] += 1
        for view, cost in self._cost(survivors).items():
            self._spent[view] = self._spent[view] + cost

    def openings_of(self, number: int) -> int:
        """How often round `number` was opened, or may have been, so far."""
        return self._openings[number]

    def epsilons(self) -> dict[str, float | None]:
        """Epsilon spent so far by view; None where there is no finite one."""
        found = {view: epsilon_from_rdp(rdp, self._config.privacy.delta) for view, rdp in self._spent.items()}
        return {view: epsilon if math.isfinite(epsilon) else None for view, epsilon in found.items()}

    def _after(self, survivors: int) -> dict[str, NDArray[np.float64]]:
        return {view: self._spent[view] + cost for view, cost in self._cost(survivors).items()}

    def _cost(self, survivors: int) -> dict[str, NDArray[np.float64]]:
        """RDP of one opening at `ORDERS` in each view; infinite where the view is not protected at all."""
        noise = self._plan.noise
        if noise.trust == "none":
            return dict.fromkeys(VIEWS, np.full(len(ORDERS), np.inf))
        event = opening_event(self._header, survivors, noise.sum_multiplier(survivors))
        return rdp_by_view([event], self._header)
