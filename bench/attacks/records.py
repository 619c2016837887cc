"""A client whose own records are odd, against the sum that others are in."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.attacks.attack import Attack, Outcome
from bench.attacks.server import Server, configuration
from bench.attacks.stage import Stage
from bench.small_run import small_task
from fl_core.config import RunConfig
from fl_core.task import FederatedTask

__all__ = ["ATTACKS"]


def _poisoned(folder: Path) -> Outcome:
    """One record whose features are not numbers, among sound ones."""
    with Stage(folder) as stage:
        config = configuration(noise=None)
        sound, bad = (Server(stage, config, partial(_with_record, value=value)) for value in (None, float("nan")))
        name = stage.new_run()
        spec = bad.spec(name)
        found = bad.read(spec, bad.message(bad.ask(run=name)))
        said = "measured: the record counts as zero, and the others as without it"
        equal = np.array_equal(found, sound.truth())
        return Outcome(not equal, "a sum that is no number, or another one", (said,) if equal else ())


def _with_record(config: RunConfig, value: float | None) -> FederatedTask:
    """The task with client 0's first record left out, or with features of this value."""
    task = small_task(config)
    first, *others = task.clients
    if value is None:
        return dataclasses.replace(task, clients=(first[1:], *others))

    def batch(records: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        x, labels = task.batch(records)
        x[torch.from_numpy(records == first[0])] = value
        return x, labels

    return dataclasses.replace(task, batch=batch)


ATTACKS = (
    Attack(
        "nan-record", "client", "has a record whose features are NaN", "client", "measured: the record counts as zero",
        _poisoned,
    ),
)  # fmt: skip
