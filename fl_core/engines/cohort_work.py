"""The work of one cohort in one round, in whichever process it is done: contributions, noise, messages.

Takes the task and what is asked; gives messages and, last, what only a simulation can see. Everything is drawn from
streams that labels name, so that it does not matter where. It stands for the clients: what leaves has each client's
noise, except in the labelled short cut, where the noise of the sum is drawn once and cohorts give their bare sums.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fl_core.cohort import Contributions, Diagnostics, cohort_contributions
from fl_core.config import RunConfig
from fl_core.engines.cohort_request import CohortRequest
from fl_core.privacy_plan import PrivacyPlan
from fl_core.rounds import clip_of, cohort_messages
from fl_core.task import FederatedTask
from secagg.envelopes import SealedMessage
from secagg.messages import ClientMessage

__all__ = ["CohortItem", "cohort_items"]

CohortItem = ClientMessage | SealedMessage | Contributions | Diagnostics


def cohort_items(
    task: FederatedTask,
    config: RunConfig,
    plan: PrivacyPlan,
    request: CohortRequest,
    clients: Sequence[int],
    together: bool,
) -> Iterator[CohortItem]:
    """The messages of the cohort `clients`, or with `simulation.noise=aggregate` one row, its sum; then diagnostics.

    Args:
        task: its model must hold the request's adapter.
        config, plan: of the run.
        request: what the round asks.
        clients: one of `fl_core.cohort_size.cohorts`.
        together: as for `fl_core.rounds.cohort_messages`.
    """
    asked = request.round
    task.model.train()
    diagnostics = Diagnostics()
    streams = {client: asked.stream.child("client", client) for client in clients}
    own = [streams[client] for client in clients]
    clip = clip_of(config, plan, asked.clip_norm)
    part = cohort_contributions(task, asked.theta, clients, own, config, clip, diagnostics)
    if config.simulation.noise == "aggregate":
        yield Contributions(part.clients, part.totals.sum(axis=0)[None])
    else:
        yield from cohort_messages(asked.spec, part, plan.noise, request.parties, streams, together)
    yield diagnostics
