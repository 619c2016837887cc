"""A life of a run: a forked process that does what `sotto run` does until it ends or is killed.

Takes a `Life`; gives a `Victim` to watch and kill. What has to survive the kill is outside the run folder: a log, one
`write` a line, of every sum that was opened, and a shared byte that says what the process was at. Nothing of the
product is changed: functions are wrapped in the forked process only, to observe them and to die at a chosen call.
"""

from __future__ import annotations

import gc
import json
import mmap
import os
import select
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import torch

from bench.crashes.hooks import PHASES, Kill, watch_files, watch_run
from bench.forks import fork, output_to
from bench.small_run import small_task
from experiments import runs
from fl_core.config import RunConfig
from fl_core.round_report import RoundReport
from secagg.errors import SottoError

__all__ = ["Life", "Victim", "start"]


@dataclass(frozen=True)
class Life:
    """One process of a run.

    Attributes:
        folder: the run folder.
        log: file for what was observed, outside of it; standard output and error go beside it.
        config: the run's.
        kill: when it ends itself, if it does.
        plant: changes the product first, to see the harness find it.
    """

    folder: Path
    log: Path
    config: RunConfig
    kill: Kill | None = None
    plant: Callable[[], None] | None = None


@dataclass
class Victim:
    """A life from outside.

    Attributes:
        life: what it lives.
        pid: its process.
        started: monotonic seconds.
        rounds_began: seconds after the start at which the rounds began, once they did.
        status: how it ended, as `os.waitpid`; None while it lives.
    """

    life: Life
    pid: int
    handle: int
    begun: int
    marks: mmap.mmap
    started: float = field(default_factory=time.monotonic)
    rounds_began: float | None = None
    status: int | None = None

    @property
    def phase(self) -> str:
        """What it is, or was last, at."""
        return PHASES[self.marks[0]]

    @property
    def rounds_left(self) -> float:
        """Share of all rounds that this life had before it when they began."""
        return 1.0 - self.marks[1] / self.life.config.federation.rounds

    @property
    def killed(self) -> bool:
        """Whether a signal ended it."""
        return self.status is not None and os.WIFSIGNALED(self.status)

    def wait(self, seconds: float) -> bool:
        """Whether it ended within so many seconds."""
        if self.status is None and _readable(self.handle, seconds):
            self.status = os.waitpid(self.pid, 0)[1]
            os.close(self.handle)
            os.close(self.begun)
        return self.status is not None

    def wait_for_rounds(self, seconds: float) -> bool:
        """Whether the rounds began within so many seconds; False if it ended before."""
        if self.rounds_began is None and self.status is None and _readable(self.begun, seconds):
            if not os.read(self.begun, 1):
                return False
            self.rounds_began = time.monotonic() - self.started
        return self.rounds_began is not None

    def stand_still(self) -> bool:
        """Stop it, between two system calls; False if it ended. SIGCONT or SIGKILL go on."""
        self.signal(signal.SIGSTOP)
        while self.status is None:
            state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
            if state in "TZX":
                return state == "T"
            time.sleep(0.001)
        return False

    def signal(self, number: int) -> None:
        """Send a signal; no harm if it has ended."""
        if self.status is None:
            os.kill(self.pid, number)


def start(life: Life) -> Victim:
    """Fork a process that lives `life`: begins the run, or resumes it if its folder holds a configuration."""
    marks = mmap.mmap(-1, mmap.PAGESIZE)
    read, write = os.pipe()
    gc.collect()

    def live() -> None:
        os.close(read)
        _live(life, marks, write)

    pid = fork(live)
    os.close(write)
    return Victim(life, pid, os.pidfd_open(pid), read, marks)


def _readable(descriptor: int, seconds: float) -> bool:
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(max(0.0, 1000 * seconds)))


class _Silent:
    """A run's progress that nobody hears."""

    def say(self, text: str) -> None: ...

    def note(self, text: str) -> None: ...

    def round(self, report: RoundReport) -> None: ...


def _live(life: Life, marks: mmap.mmap, begun: int) -> NoReturn:
    output_to(life.log.with_suffix(".err"))
    torch.set_num_threads(1)
    runs.build_task = small_task
    log = os.open(life.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def say(**facts: Any) -> None:
        os.write(log, json.dumps(facts).encode() + b"\n")

    if life.plant is not None:
        life.plant()
    reach = watch_files(life.folder, life.kill) if life.kill is not None else lambda point: None
    watch_run(marks, begun, say, reach)
    began = (life.folder / "config.yaml").exists()
    try:
        runs.execute(life.config, life.folder, began, False, _Silent())  # as `sotto sweep` does
    except SottoError as error:
        say(kind="ended", how="sentence", text=str(error))
    except BaseException:
        say(kind="ended", how="error", text=traceback.format_exc())
    else:
        say(kind="ended", how="finished", text="")
    os._exit(0)
