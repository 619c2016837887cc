"""The small run of `bench.leaks`: the task of `bench.small_run` with records that can be recognised, and slower.

`build` stands in for `experiments.tasks.build_task` in every process of the run, and notes clients' vectors there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.leaks.search import Secret
from bench.leaks.watch import watch
from bench.small_run import small_task
from fl_core.config import RunConfig
from fl_core.task import FederatedTask

__all__ = ["FAULT", "RECORDS", "build"]

FAULT = "SOTTO_LEAKS_FAULT"  # environment variable: "nan" or "error" in the clients' code from some point on
_RECORD = (1.2345678, -2.3456789, 3.4567891, -4.5678912, 5.6789123)
_SLOWLY_S = 0.03
RECORDS = [Secret("private records", _RECORD[start : start + 3]) for start in range(3)]
_calls = [0]


def build(config: RunConfig, on_progress: Callable[[str], None] = lambda _: None) -> FederatedTask:
    """The task; as `experiments.tasks.build_task`."""
    if os.getpid() not in _watched:
        _watched.add(os.getpid())
        watch()
    task = small_task(config)
    record = torch.tensor(_RECORD)

    def batch(records: NDArray[Any]) -> tuple[Tensor, Tensor]:
        x, labels = task.batch(records)
        x[torch.from_numpy(records % 7 == 0)] = record
        _calls[0] += 1
        return x, labels

    def loss(output: Any, inputs: Any) -> Tensor:
        found = task.loss(output, inputs)
        if os.environ.get(FAULT) == "nan":
            return found * torch.where(inputs[0][:, 0] == record[0], torch.nan, 1.0)
        if os.environ.get(FAULT) == "error" and _calls[0] > 4:
            raise ValueError(f"planted failure in the clients' code, shapes {tuple(output.shape)}")
        return found

    def evaluate(model: nn.Module) -> dict[str, float]:
        time.sleep(_SLOWLY_S)
        return task.evaluate(model)  # type: ignore[arg-type]

    return replace(task, batch=batch, loss=loss, evaluate=evaluate)


_watched: set[int] = set()
