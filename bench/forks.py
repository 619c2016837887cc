"""For harnesses that fork a process for everything they try, so that a try costs milliseconds and not an import.

The process that forks must have computed nothing with threads: those would not outlive a fork.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable
from pathlib import Path

import torch

from bench.small_run import small_config, small_task
from experiments.figures import pyplot
from fl_core.adapters import flat_adapter
from fl_core.privacy_plan import plan_privacy

__all__ = ["die_with_parent", "fork", "output_to", "warm_up"]


def warm_up() -> None:
    """Load what every run needs, and fill its caches, once for all forks."""
    torch.set_num_threads(1)
    import dp_accounting.pld.pld_privacy_accountant  # noqa: F401
    from torch.utils.tensorboard import SummaryWriter  # noqa: F401

    config = small_config()
    task = small_task(config)
    plan_privacy(config, len(flat_adapter(task.model)), task.records)
    plt = pyplot()
    figure, axes = plt.subplots()
    axes.plot([0, 1], label="fonts")
    axes.legend()
    with open(os.devnull, "wb") as nowhere:
        figure.savefig(nowhere, format="png")
    plt.close(figure)


def fork(live: Callable[[], object]) -> int:
    """Fork a process that does this and nothing else, and ends with its parent; returns its id.

    Args:
        live: ends the process itself, with `os._exit`; if it comes back or raises, the exit code is 70.
    """
    pid = os.fork()
    if pid == 0:
        try:
            die_with_parent()
            live()
        finally:
            os._exit(70)
    return pid


def output_to(path: Path | str) -> None:
    """Have this process's standard output and error go to the end of a file."""
    output = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)


def die_with_parent() -> None:
    """Have the kernel kill this process, a fork, when the one that forked it is gone."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() == 1:
        os._exit(70)
