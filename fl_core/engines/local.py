"""The local engine: every client simulated on this machine, as cohorts that share batches.

Takes a round's request; gives its opened sum. It stands for the clients, so it sees their records and their noise; what
it sees beside messages is for the run folder's `simulation/` numbers and must never go anywhere else. A deployment's
clients do the same each on its own (`fl_core.engines.flower`).
"""

from __future__ import annotations

from collections.abc import Iterator

from fl_core.cohort import Contributions, Diagnostics
from fl_core.cohort_size import cohorts
from fl_core.config import RunConfig
from fl_core.engines.cohort_request import CohortRequest
from fl_core.engines.cohort_work import CohortItem, cohort_items
from fl_core.engines.message_source import RoundRequest
from fl_core.engines.worker_pool import WorkerPool
from fl_core.privacy_plan import PrivacyPlan
from fl_core.rounds import open_joint_sum, open_messages
from fl_core.task import FederatedTask
from secagg.aggregator import Aggregator, BeforeOpening
from secagg.envelopes import SealedMessage
from secagg.messages import ClientMessage, RoundSum

__all__ = ["LocalClients"]


class LocalClients:
    """All clients of a task, computed in this process or by a pool of workers; the opened sums are the same bits.

    Args:
        task: model, records, loss.
        config: the resolved configuration.
        plan: noise and grid.
        pool: the workers, if there are any.
    """

    def __init__(
        self, task: FederatedTask, config: RunConfig, plan: PrivacyPlan, pool: WorkerPool | None = None
    ) -> None:
        self._task, self._config, self._plan, self._pool = task, config, plan, pool
        self._diagnostics = Diagnostics()
        self.refused = 0

    def open_sum(self, request: RoundRequest, aggregator: Aggregator, before_opening: BeforeOpening) -> RoundSum:
        """See `MessageSource.open_sum`."""
        self._diagnostics = Diagnostics()
        spec, noise, server = request.spec, self._plan.noise, request.stream.child("server")
        if self._config.simulation.noise == "aggregate":
            joint = request.stream.child("simulation")
            sums = (item for item in self._items(request, aggregator) if isinstance(item, Contributions))
            return open_joint_sum(spec, sums, noise, aggregator, joint, server, before_opening)
        messages = (item for item in self._items(request, aggregator) if not isinstance(item, Contributions))
        opened = open_messages(spec, messages, noise, aggregator, server, before_opening)
        # What workers sealed, the aggregator cannot tell from what never came.
        self.refused = 0 if self._pool is None else len(request.present) - len(opened.clients)
        return opened

    def row(self) -> dict[str, float]:
        """Samples, clipping and loss of the last round: what only a simulation can see."""
        return self._diagnostics.row()

    def _items(
        self, request: RoundRequest, aggregator: Aggregator
    ) -> Iterator[ClientMessage | SealedMessage | Contributions]:
        """What the cohorts give, in their order; their diagnostics are kept here."""
        asked = CohortRequest(request, aggregator.parties, aggregator.key_folder)
        for item in self._computed_here(asked) if self._pool is None else self._pool.items(asked):
            if isinstance(item, Diagnostics):
                self._diagnostics.add(item)
            else:
                yield item

    def _computed_here(self, asked: CohortRequest) -> Iterator[CohortItem]:
        present = asked.round.present
        for part in cohorts(self._task, present, self._config):
            yield from cohort_items(self._task, self._config, self._plan, asked, present[part])
