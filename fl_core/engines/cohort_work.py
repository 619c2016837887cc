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
from fl_core.rounds import clip_of, cohort_messages, joint_message
from fl_core.task import FederatedTask
from secagg.envelopes import SealedMessage
from secagg.messages import ClientMessage

__all__ = ["CohortItem", "cohort_items"]

CohortItem = ClientMessage | SealedMessage | Contributions | Diagnostics


def cohort_items(
    task: FederatedTask, config: RunConfig, plan: PrivacyPlan, request: CohortRequest, clients: Sequence[int]
) -> Iterator[CohortItem]:
    """The messages of the cohort `clients`, or with `simulation.noise=aggregate` one row, its sum; then diagnostics.

    A single aggregator adds the clients' vectors up anyway, so that for one there is one message of the whole cohort:
    the same bits in the sum, for less to hold and to send between processes. XNoise's messages carry each client's
    seeds and stay apart.

    Args:
        task: its model must hold the request's adapter.
        config, plan: of the run.
        request: what the round asks.
        clients: one of `fl_core.cohort_size.cohorts`.
    """
    asked = request.round
    task.model.train()
    diagnostics = Diagnostics()
    streams = [asked.stream.child("client", client) for client in clients]
    clip = clip_of(config, plan, asked.clip_norm)
    bare = config.simulation.noise == "aggregate"
    joint = bare or (request.parties == 1 and not plan.noise.components)
    part = cohort_contributions(task, asked.theta, clients, streams, config, clip, diagnostics, joint)
    if bare:
        yield part
    elif joint:
        yield joint_message(asked.spec, part, plan.noise, streams)
    else:
        yield from cohort_messages(asked.spec, part, plan.noise, request.parties, streams)
    yield diagnostics
