"""One `sotto` command in a forked process, and everything that it and its children let others see meanwhile.

Takes a command line and what is to be broken; gives a `Life`. Standard output and error go to files; files in its
temporary folder are copied as they appear, with their modes; command lines and environments of all its processes are
read from /proc, as other programs of the machine can.
"""

from __future__ import annotations

import os
import signal
import stat
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import torch

from bench.forks import fork
from bench.leaks.watch import CHILDREN, VAULT, watch
from bench.places import ROOT
from bench.processes import descendants

__all__ = ["Life", "Scene"]

_LOOK_S = 0.05
_LIMIT_S = 240.0


@dataclass(frozen=True)
class Scene:
    """Where lives happen.

    Attributes:
        seen: folder of everything that is searched.
        vault: file of the secrets that were met.
    """

    seen: Path
    vault: Path

    def prepare(self) -> None:
        """Make its folders, and what makes children note their secrets."""
        for name in ("tmp", "cache", "output", "proc", "copies", "reprs", "pickles"):
            (self.seen / name).mkdir(parents=True, exist_ok=True)
        hook = self.vault.parent / "hook"
        hook.mkdir(parents=True, exist_ok=True)
        (hook / "sitecustomize.py").write_text(CHILDREN)

    def environment(self) -> dict[str, str]:
        """Of a life."""
        path = os.pathsep.join([str(self.vault.parent / "hook"), str(ROOT)])
        return {
            "TMPDIR": str(self.seen / "tmp"),
            "SOTTO_CACHE": str(self.seen / "cache"),
            "PYTHONPATH": path,
            "PYTHONDONTWRITEBYTECODE": "1",
            VAULT: str(self.vault),
        }


@dataclass
class Life:
    """A command that runs, or has ended.

    Args:
        scene: where.
        name: of its files of output.
        words: the command line after `sotto`.
        environment: more of it.
        plant: called in the process first.
        small: whether the small task stands in for the configured one.

    Attributes:
        status: exit code, negative for a signal; None while it runs.
        modes: of files that were seen in its temporary folder, by path.
        core_limits: soft and hard limits of core dumps that its processes had last, by process.
    """

    scene: Scene
    name: str
    words: Sequence[str]
    environment: dict[str, str] = field(default_factory=dict)
    plant: Callable[[], None] | None = None
    small: bool = True
    status: int | None = None
    modes: dict[str, int] = field(default_factory=dict)
    core_limits: dict[int, str] = field(default_factory=dict)
    _pid: int = 0
    _copied: set[tuple[str, int, int]] = field(default_factory=set)
    _shown: set[bytes] = field(default_factory=set)

    def start(self) -> Life:
        """Fork it."""
        sys.stdout.flush()
        sys.stderr.flush()
        self._pid = fork(self._live)
        return self

    def run(self, until: Callable[[], bool] | None = None, act: Callable[[Life], None] | None = None) -> Life:
        """Start it and see it through; once `until` holds, `act` is called."""
        self.start()
        started = time.monotonic()
        while self.look():
            if until is not None and act is not None and until():
                act(self)
                until = None
            if time.monotonic() - started > _LIMIT_S:
                self.signal(signal.SIGKILL)
        return self

    def look(self) -> bool:
        """Note what can be seen now; False once it has ended."""
        time.sleep(_LOOK_S)
        self._copy_files()
        self._read_processes()
        if self.status is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status is None

    def signal(self, number: int) -> None:
        """Send it a signal; no harm if it has ended."""
        if self.status is None:
            os.kill(self._pid, number)

    def output(self) -> str:
        """What it said."""
        return "".join(path.read_text(errors="replace") for path in self._outputs() if path.exists())

    def _outputs(self) -> list[Path]:
        return [self.scene.seen / "output" / f"{self.name}.{end}" for end in ("out", "err")]

    def _live(self) -> NoReturn:
        for number, path in enumerate(self._outputs(), 1):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), number)
        os.environ.update(self.scene.environment() | self.environment)
        import tempfile

        tempfile.tempdir = None
        torch.set_num_threads(1)
        from bench.leaks import task
        from experiments import cli, runs

        signal.signal(signal.SIGINT, signal.default_int_handler)
        task._watched.add(os.getpid())
        watch()
        self._copy_pickles()
        self._print_objects()
        if self.small:
            runs.build_task = task.build
        if self.plant is not None:
            self.plant()
        sys.argv = ["sotto", *self.words]
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:
            traceback.print_exc()  # as the interpreter does
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        import logging
        import multiprocessing.util

        multiprocessing.util._exit_function()  # type: ignore[attr-defined]
        logging.shutdown()
        os._exit(code)

    def _copy_pickles(self) -> None:
        """Keep a copy of the arguments that are handed to new processes."""
        import multiprocessing.popen_spawn_posix as spawning
        from multiprocessing import reduction

        dump, folder = reduction.dump, self.scene.seen / "pickles"

        def kept(thing: Any, file: Any, protocol: Any = None) -> None:
            with (folder / f"{self.name}-{time.monotonic_ns()}").open("wb") as copy:
                dump(thing, copy, protocol)
            dump(thing, file, protocol)

        spawning.reduction.dump = kept

    def _print_objects(self) -> None:
        """In the middle of rounds, print everything of the product's classes that is alive, as a debugger's log may."""
        import gc

        from fl_core.engines import cohort_work
        from secagg.messages import ClientMessage

        path, made, left = self.scene.seen / "reprs" / self.name, ClientMessage.__post_init__, [3]
        tops = ("kernels", "secagg", "fl_core", "experiments")

        def noted(message: ClientMessage) -> None:
            made(message)
            if left[0]:
                left[0] -= 1
                alive = [thing for thing in gc.get_objects() if str(type(thing).__module__).split(".")[0] in tops]
                text = "\n".join(f"{thing!r} {thing}" for thing in [message, *alive] if not isinstance(thing, type))
                with path.open("a", encoding="utf-8", errors="replace") as file:
                    file.write(text)

        ClientMessage.__post_init__ = noted  # type: ignore[method-assign]
        contributions, shown = cohort_work.cohort_contributions, [2]

        def printed(*arguments: Any, **named: Any) -> Any:
            found = contributions(*arguments, **named)
            if shown[0]:
                shown[0] -= 1
                with path.open("a") as file:
                    file.write(f"{found!r} {found}\n")
            return found

        cohort_work.cohort_contributions = printed

    def _copy_files(self) -> None:
        for folder, _, names in os.walk(self.scene.seen / "tmp"):
            for name in names:
                path = os.path.join(folder, name)
                try:
                    facts = os.lstat(path)
                    key = (path, facts.st_size, facts.st_mtime_ns)
                    if key in self._copied or not stat.S_ISREG(facts.st_mode):
                        continue
                    self._copied.add(key)
                    self.modes[path] = stat.S_IMODE(facts.st_mode)
                    copy = self.scene.seen / "copies" / f"{self.name}-{len(self._copied)}-{name}"
                    copy.write_bytes(Path(path).read_bytes())
                except OSError:
                    continue  # it was there for a moment

    def _read_processes(self) -> None:
        for pid in descendants(self._pid):
            for name in ("cmdline", "environ"):
                try:
                    content = Path(f"/proc/{pid}/{name}").read_bytes()
                except OSError:
                    continue
                if content not in self._shown:
                    self._shown.add(content)
                    with (self.scene.seen / "proc" / f"{self.name}.{name}").open("ab") as file:
                        file.write(content + b"\n")
            try:
                limits = Path(f"/proc/{pid}/limits").read_text()
            except OSError:
                continue
            line = next((line for line in limits.splitlines() if line.startswith("Max core")), "")
            if line:
                self.core_limits[pid] = " ".join(line.split()[4:6])
