"""The local engine: every client simulated in one process, as cohorts that share batches.

Takes what the round loop takes; stands for the clients, so it sees their records and their noise. A deployment's
clients do the same each on its own (`fl_core.engines.flower`).
"""

from __future__ import annotations

from fl_core.checkpoint import Checkpoint
from fl_core.cohort import Diagnostics, contributions
from fl_core.config import RunConfig
from fl_core.engines.round_loop import RoundLoop, RoundRequest
from fl_core.privacy.ledger import Ledger
from fl_core.privacy_plan import PrivacyPlan
from fl_core.rounds import BeforeOpening, clip_of, open_joint_sum, open_noisy_sum
from fl_core.run_folder import RunFolder
from fl_core.task import FederatedTask
from secagg.aggregator import Aggregator
from secagg.messages import RoundSum

__all__ = ["LocalClients", "LocalEngine"]


class LocalClients:
    """All clients of a task, computed here.

    Args:
        task: model, records, loss.
        config: the resolved configuration.
        plan: noise and grid.
    """

    refused = 0

    def __init__(self, task: FederatedTask, config: RunConfig, plan: PrivacyPlan) -> None:
        self._task, self._config, self._plan = task, config, plan
        self._diagnostics = Diagnostics()

    def open_sum(self, request: RoundRequest, aggregator: Aggregator, before_opening: BeforeOpening) -> RoundSum:
        """See `MessageSource.open_sum`."""
        config, plan, stream, present = self._config, self._plan, request.stream, request.present
        self._diagnostics = Diagnostics()
        streams = {client: stream.child("client", client) for client in present}
        self._task.model.train()
        parts = contributions(
            self._task,
            request.theta,
            present,
            [streams[client] for client in present],
            config,
            clip_of(config, plan, request.clip_norm),
            self._diagnostics,
        )
        server = stream.child("server")
        if config.simulation.noise == "aggregate":
            joint = stream.child("simulation")
            return open_joint_sum(request.spec, parts, plan.noise, aggregator, joint, server, before_opening)
        return open_noisy_sum(request.spec, parts, plan.noise, aggregator, streams, server, before_opening)

    def row(self) -> dict[str, float]:
        """Samples, clipping and loss of the last round: what only a simulation can see."""
        return self._diagnostics.row()


class LocalEngine(RoundLoop):
    """The round loop over clients that are all simulated here; arguments as `RoundLoop`, without the source."""

    def __init__(
        self,
        task: FederatedTask,
        config: RunConfig,
        plan: PrivacyPlan,
        folder: RunFolder,
        ledger: Ledger,
        aggregator: Aggregator,
        start: Checkpoint | None,
    ) -> None:
        super().__init__(task, config, plan, folder, ledger, aggregator, start, LocalClients(task, config, plan))
