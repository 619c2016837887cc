"""Worker processes that compute a simulation's cohorts, on several cores or GPUs of one machine.

Takes what a round asks of its cohorts; gives their messages, in the cohorts' order. Cohort i is worker i mod n's; every
worker holds the whole task and draws from streams that labels name, so that the opened sums do not depend on how many
workers there are. Data-parallel over `torch.distributed`. A worker that fails ends the run with a sentence, and the run
can be resumed. Never for real clients, who compute on machines of their own.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch.distributed as dist
import torch.multiprocessing as mp

from fl_core.cohort import Contributions, Diagnostics
from fl_core.cohort_size import cohorts
from fl_core.config import RunConfig
from fl_core.engines.cohort_request import CohortRequest, request_to_wire
from fl_core.engines.cohort_work import CohortItem
from fl_core.engines.worker import TaskBuilder, work
from fl_core.engines.worker_link import LinkBroken, group_store, join, leave, receive, send
from fl_core.model_digest import frozen_digest
from fl_core.privacy_plan import PrivacyPlan
from fl_core.task import FederatedTask
from secagg.envelopes import SealedMessage
from secagg.errors import AggregationError, SottoError
from secagg.messages import ClientMessage
from secagg.sharing import Shares
from secagg.wire import ids_of

__all__ = ["WorkerPool"]

_POLL_S = 0.05
_GRACE_S = 5.0  # from a worker's broken connection to its end


class WorkerPool:
    """`engine.workers` processes, from construction until `shutdown`.

    Args:
        task: the task as this process built it, which has to be that of all.
        config: the resolved configuration.
        plan: noise and grid.
        build: makes the task in each worker; a function that a module names.

    Raises:
        SottoError: if a worker cannot build the task, or comes to another one.
    """

    def __init__(self, task: FederatedTask, config: RunConfig, plan: PrivacyPlan, build: TaskBuilder) -> None:
        if dist.is_initialized():
            raise SottoError(
                "engine.workers is above 1 in a process that belongs to a torch.distributed group already; start sotto "
                "alone (it starts its workers itself), or set engine.workers=1"
            )
        self._task, self._config, self._workers = task, config, config.engine.workers
        cores = os.cpu_count() or 1
        threads = config.engine.threads or max(1, cores // self._workers)
        self._folder = tempfile.TemporaryDirectory(prefix="sotto-workers-")
        store = Path(self._folder.name) / "store"
        context = mp.get_context("spawn")
        self._processes: list[BaseProcess] = [
            context.Process(
                target=work,
                args=(rank, self._workers, store, config, plan, build, threads),
                name=f"sotto-worker-{rank}",
                daemon=True,
            )
            for rank in range(1, self._workers + 1)
        ]
        self._left: list[int] = []  # workers that owe a cohort of the last request, in the cohorts' order
        try:
            for process in self._processes:
                process.start()
            self._join(store)
            expected = {"frozen": frozen_digest(task.model), "records": task.records}
            for rank in range(1, self._workers + 1):
                found, _ = self._receive(rank)
                if any(found[key] != value for key, value in expected.items()):
                    raise SottoError(
                        f"worker {rank} built another model or other records than this process; is a file changing?"
                    )
        except BaseException:
            self.shutdown()
            raise

    def items(self, request: CohortRequest) -> Iterator[CohortItem]:
        """What `cohort_items` gives for every cohort of a round, in the cohorts' order; messages are sealed already.

        What a caller that stops early leaves is thrown away before the next request.

        Raises:
            SottoError: if a worker refuses or is gone.
        """
        self._drain()
        header, theta = request_to_wire(request)
        count = len(cohorts(self._task, request.round.present, self._config))
        for rank in range(1, self._workers + 1):
            self._send(rank, header, theta)
        self._left = [1 + index % self._workers for index in range(count)]
        while self._left:
            found, payload = self._receive(self._left[0])
            if found["kind"] == "done":
                self._left.pop(0)
                yield Diagnostics(*found["diagnostics"])
            else:
                yield from _decoded(found, payload, request)

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers, by rank."""
        return [process.pid or 0 for process in self._processes]

    def shutdown(self) -> None:
        """End the workers; legal at any time and more than once."""
        for process in self._processes:
            # They hold nothing that is not thrown away with them, and may be waiting for this process.
            if process.is_alive():
                process.kill()
                process.join()
        leave()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()

    def _join(self, store: Path) -> None:
        """Wait until every worker is there, but not for one that ended on its way."""
        group = group_store(store, self._workers)
        while not group.check([f"here {rank}" for rank in range(1, self._workers + 1)]):
            self._refuse_ended()
            time.sleep(_POLL_S)
        try:
            join(0, self._workers, group)
        except LinkBroken as broken:
            # A worker ended while the group came together, which its connection told before its process does.
            deadline = time.monotonic() + _GRACE_S
            while time.monotonic() < deadline:
                self._refuse_ended()
                time.sleep(_POLL_S)
            raise AggregationError(f"the {self._workers} workers did not come together: {broken}") from None

    def _refuse_ended(self) -> None:
        for rank, process in enumerate(self._processes, 1):
            if not process.is_alive():
                raise self._gone(rank)

    def _drain(self) -> None:
        """Throw away what is left of an earlier request."""
        while self._left:
            if self._receive(self._left[0])[0]["kind"] == "done":
                self._left.pop(0)

    def _send(self, rank: int, header: Any, payload: bytes) -> None:
        try:
            send(rank, header, [payload])
        except LinkBroken:
            raise self._gone(rank) from None

    def _receive(self, rank: int) -> tuple[dict[str, Any], memoryview]:
        try:
            found, payload = receive(rank)
        except LinkBroken:
            raise self._gone(rank) from None
        if found["kind"] == "refused":
            raise SottoError(f"worker {rank}: {found['reason']}")
        if found["kind"] == "failed":
            raise RuntimeError(f"worker {rank} failed:\n{found['reason']}")
        return found, payload

    def _gone(self, rank: int) -> AggregationError:
        process = self._processes[rank - 1]
        process.join(_GRACE_S)
        code = process.exitcode
        how = f"ended with exit code {code}" if code is None or code >= 0 else f"was killed by signal {-code}"
        return AggregationError(f"worker {rank} of {self._workers} {how}; nothing was opened, the run can be resumed")


def _decoded(found: dict[str, Any], payload: memoryview, request: CohortRequest) -> Iterator[CohortItem]:
    spec = request.round.spec
    if found["kind"] == "total":
        yield Contributions(tuple(ids_of(found["clients"])), np.frombuffer(payload, np.int64)[None])
    elif found["kind"] == "message":
        shares = Shares(np.frombuffer(payload, np.int64), (), spec.bits)
        clients, seeds = tuple(ids_of(found["clients"])), tuple(found["seeds"])
        yield ClientMessage(spec.run, spec.round, spec.attempt, clients, shares, seeds)
    else:
        start = 0
        for ranges, lengths in zip(found["clients"], found["lengths"], strict=True):
            parts = []
            for length in lengths:
                parts.append(bytes(payload[start : start + length]))
                start += length
            yield SealedMessage(tuple(ids_of(ranges)), tuple(parts))
