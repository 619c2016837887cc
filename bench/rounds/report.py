"""What a cell of `bench.rounds` is told and what it says, in whatever interpreter it runs. Needs PyTorch only."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["Clock", "Task", "finish", "task_of"]


@dataclass(frozen=True)
class Task:
    """What one cell is to do.

    Attributes:
        folder: of the work (`bench.rounds.work`).
        clients: the first so many take part in every round.
        rounds: all of them, the uncounted first one too.
        privacy: `none`, `central` or `distributed`.
        parties: of secure aggregation.
        clip_norm, noise_multiplier: of a client's update, and of the sum's noise over the clip norm.
        threads: of one process.
        processes: that share the clients, where a framework has them.
        save: file for the last adapter `[p]`, or none.
    """

    folder: Path
    clients: int
    rounds: int
    privacy: str
    parties: int
    clip_norm: float
    noise_multiplier: float
    threads: int
    processes: int
    save: Path | None

    def to_json(self) -> str:
        """For a command line."""
        return json.dumps({**vars(self), "folder": str(self.folder), "save": self.save and str(self.save)})


def task_of(text: str) -> Task:
    """What `Task.to_json` wrote."""
    said = json.loads(text)
    return Task(**{**said, "folder": Path(said["folder"]), "save": said["save"] and Path(said["save"])})


class Clock:
    """Prints how long each round took, from the end of the one before it."""

    def __init__(self) -> None:
        self._round, self._last = 0, time.perf_counter()

    def start(self) -> None:
        """The first round begins now."""
        self._last = time.perf_counter()

    def round_done(self) -> None:
        """A round has ended and the next one begins."""
        now = time.perf_counter()
        self._round += 1
        print(json.dumps({"round": self._round, "seconds": now - self._last}), flush=True)
        self._last = time.perf_counter()


def finish(task: Task, adapter: Tensor, packages: tuple[str, ...], **more: Any) -> None:
    """Save the adapter if asked for, and say with which versions it was made."""
    if task.save is not None:
        np.save(task.save, adapter.numpy())
    versions = [f"Python {'.'.join(map(str, sys.version_info[:3]))}", f"torch {torch.__version__}"]
    for name in packages:
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            versions.append(f"{name} absent")
    done = {"versions": ", ".join(versions), "parameters": adapter.numel(), **more}
    print(json.dumps({"done": done}), flush=True)
