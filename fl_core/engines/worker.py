"""A worker process of a simulation: it builds the task, then does its cohorts' part of every round.

Takes requests from process 0 and sends back messages, as `fl_core.engines.worker_pool` says. It stands for the
clients: what it sends has every client's noise, except in the labelled short cut. It ends when process 0 does, however
that ended.
"""

from __future__ import annotations

import signal
import traceback
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path

import torch

from fl_core.adapters import load_flat_adapter
from fl_core.cohort import Contributions, Diagnostics
from fl_core.cohort_size import cohorts
from fl_core.config import RunConfig
from fl_core.engines.cohort_request import CohortRequest, request_from_wire
from fl_core.engines.cohort_work import CohortItem, cohort_items
from fl_core.engines.worker_link import LinkBroken, group_store, join, receive, send
from fl_core.host_memory import keep_freed_memory
from fl_core.model_digest import frozen_digest
from fl_core.privacy_plan import PrivacyPlan
from fl_core.task import FederatedTask
from secagg.coordinator.members import load_cohort
from secagg.envelopes import SealedMessage, seal
from secagg.errors import SottoError
from secagg.messages import ClientMessage
from secagg.wire import ranges_of

__all__ = ["TaskBuilder", "work"]

TaskBuilder = Callable[[RunConfig], FederatedTask]

_BATCH_BYTES = 8 * 2**20


def work(
    rank: int, workers: int, store: Path, config: RunConfig, plan: PrivacyPlan, build: TaskBuilder, threads: int
) -> None:
    """The worker's life.

    Args:
        rank: 1 to `workers`; process 0 asks.
        workers: how many there are.
        store: file through which the group finds together.
        config: the resolved configuration.
        plan: noise and grid.
        build: makes the task; every process must come to the same one.
        threads: that it may use.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; it is for process 0 to decide
    keep_freed_memory()
    torch.set_num_threads(threads)
    if torch.cuda.is_available():
        torch.cuda.set_device((rank - 1) % torch.cuda.device_count())
    try:
        join(rank, workers, group_store(store, workers))
        try:
            task = build(config)
            send(0, {"kind": "ready", "frozen": frozen_digest(task.model), "records": task.records})
            while True:
                header, payload = receive(0)
                _answer(task, config, plan, request_from_wire(header, payload), rank, workers)
        except SottoError as error:
            send(0, {"kind": "refused", "reason": str(error)})
        except LinkBroken:
            raise
        except Exception:
            send(0, {"kind": "failed", "reason": traceback.format_exc()})
    except LinkBroken:
        return  # process 0 is gone; nobody is left to tell


def _answer(
    task: FederatedTask, config: RunConfig, plan: PrivacyPlan, request: CohortRequest, rank: int, workers: int
) -> None:
    asked = request.round
    load_flat_adapter(task.model, asked.theta)
    for part in cohorts(task, asked.present, config)[rank - 1 :: workers]:
        batch: list[SealedMessage] = []
        held = 0  # bytes in it
        for item in cohort_items(task, config, plan, request, asked.present[part]):
            if isinstance(item, ClientMessage) and request.key_folder is not None:
                batch.append(seal(item, asked.spec, *load_cohort(request.key_folder)))
                held += batch[-1].size
                if held >= _BATCH_BYTES:
                    _send_sealed(batch)
                    batch, held = [], 0
                continue
            if batch:
                _send_sealed(batch)
                batch, held = [], 0
            _send_item(item)


def _send_item(item: CohortItem) -> None:
    if isinstance(item, Diagnostics):
        send(0, {"kind": "done", "diagnostics": list(astuple(item))})
    elif isinstance(item, Contributions):
        send(0, {"kind": "total", "clients": ranges_of(item.clients)}, [item.totals[0].tobytes()])
    elif isinstance(item, ClientMessage):
        facts = {"kind": "message", "clients": ranges_of(item.clients), "seeds": list(item.noise_seeds)}
        send(0, facts, [item.shares.body.tobytes()])


def _send_sealed(messages: list[SealedMessage]) -> None:
    facts = {
        "kind": "sealed",
        "clients": [ranges_of(message.clients) for message in messages],
        "lengths": [[len(part) for part in message.parts] for message in messages],
    }
    send(0, facts, [part for message in messages for part in message.parts])
