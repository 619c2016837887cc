"""What a life of `bench.crashes` is seen to do, and the points at which it can end itself.

Called in the forked process only, before it runs: functions of the product are wrapped there, none is replaced.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fl_core.rounds
from experiments import runs
from fl_core.engines import round_loop
from fl_core.engines.local import LocalClients
from fl_core.engines.round_loop import RoundLoop
from fl_core.privacy.ledger import Ledger
from fl_core.tracking import RunTracker
from secagg.aggregator import PlaintextAggregator
from secagg.smpc import SmpcAggregator

__all__ = ["PHASES", "POINTS", "Kill", "watch_files", "watch_run"]

# What a life is at, in its order; "entered" is from the ledger's entry until the sum is there.
PHASES = ("starting", "clients", "ledger entry", "entered", "opened", "metrics", "checkpoint", "between", "ending")
# Calls at which a life can end itself: system calls on a file of the run folder, and the moment a sum is opened.
POINTS = (
    "write ledger", "fsync ledger", "opened", "fsync metrics", "fsync checkpoint", "replace checkpoint",
    "fsync config", "fsync adapter", "replace adapter", "fsync summary", "replace summary",
)  # fmt: skip


@dataclass(frozen=True)
class Kill:
    """When a life is ended.

    Attributes:
        point: one of `POINTS`, at which the process kills itself, or "journal", of a party.
        number: at which call of the point, from 1.
        how: `before` or `after` the call; `torn`: before an fsync, with half of what is not yet synced cut off, as a
            power cut may leave it.
    """

    point: str
    number: int = 1
    how: str = "before"


def watch_run(marks: mmap.mmap, begun: int, say: Callable[..., None], reach: Callable[[str], None]) -> None:
    """Say what the run is at, and every sum that it opens as soon as it has it."""
    known: dict[str, Any] = {}

    def mark(phase: str) -> None:
        marks[0] = PHASES.index(phase)

    def around(owner: Any, name: str, at: str, then: str | None) -> None:
        original = getattr(owner, name)

        def call(*arguments: Any, **named: Any) -> Any:
            mark(at)
            found = original(*arguments, **named)
            if then is not None:
                mark(then)
            return found

        setattr(owner, name, call)

    around(Ledger, "append", "ledger entry", "entered")
    around(RunTracker, "record", "metrics", "between")
    around(round_loop, "save_checkpoint", "checkpoint", "between")
    around(runs, "save_adapter", "ending", None)

    open_sum, draw, rounds = LocalClients.open_sum, fl_core.rounds.draw_noise, RoundLoop.run

    def observed_open(self: LocalClients, request: Any, aggregator: Any, before_opening: Any) -> Any:
        mark("clients")
        known.update(request=request, noise=hashlib.sha256(), drawn=0)
        return open_sum(self, request, aggregator, before_opening)

    def observed_noise(*arguments: Any) -> Any:
        noise = draw(*arguments)
        known["noise"].update(noise.tobytes())
        known["drawn"] += 1
        return noise

    def observed_rounds(self: RoundLoop, on_round: Any) -> str:
        mark("between")
        marks[1] = self.state.round
        os.write(begun, b"1")
        return rounds(self, on_round)

    def observing(close: Any) -> Any:
        def observed_close(self: Any, before_opening: Any = None) -> Any:
            found = close(self, before_opening)
            request = known["request"]
            say(
                kind="opened",
                run=request.spec.run,
                round=request.spec.round,
                attempt=request.spec.attempt,
                stream=_digest(request.stream.export_key()),
                noise=known["noise"].hexdigest()[:16] if known["drawn"] else "",
                theta=_digest(request.theta.numpy().tobytes()),
                total=_digest(found.total.tobytes()),
                clients=sorted(found.clients),
            )
            mark("opened")
            reach("opened")
            return found

        return observed_close

    LocalClients.open_sum = observed_open  # type: ignore[method-assign]
    fl_core.rounds.draw_noise = observed_noise
    RoundLoop.run = observed_rounds  # type: ignore[method-assign]
    for aggregator in (PlaintextAggregator, SmpcAggregator):
        aggregator.close = observing(aggregator.close)  # type: ignore[method-assign]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def watch_files(folder: Path, kill: Kill) -> Callable[[str], None]:
    """Have this process die at a point; returns what to call where a point is that is no system call."""
    calls: Counter[str] = Counter()
    synced: dict[int, int] = {}  # bytes of a file, by inode, that the disk has

    def here(point: str, how: str) -> bool:
        return (point, calls[point], how) == (kill.point, kill.number, kill.how)

    def end() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def wrap(name: str, what: Callable[..., str]) -> None:
        original = getattr(os, name)

        def call(*arguments: Any, **named: Any) -> Any:
            point = what(*arguments)
            calls[point] += 1
            if here(point, "before"):
                end()
            if name == "fsync" and here(point, "torn"):
                size, kept = os.fstat(arguments[0]).st_size, synced.get(os.fstat(arguments[0]).st_ino, 0)
                os.ftruncate(arguments[0], kept + (size - kept) // 2)
                end()
            found = original(*arguments, **named)
            if name == "fsync" and point:
                synced[os.fstat(arguments[0]).st_ino] = os.fstat(arguments[0]).st_size
            if here(point, "after"):
                end()
            return found

        setattr(os, name, call)

    def of_descriptor(name: str) -> Callable[..., str]:
        return lambda descriptor, *_: _point(name, Path(os.readlink(f"/proc/self/fd/{descriptor}")), folder)

    ledger = folder / "ledger.jsonl"
    if ledger.exists():  # what an earlier life synced cannot be lost any more
        synced[ledger.stat().st_ino] = ledger.stat().st_size
    wrap("write", of_descriptor("write"))
    wrap("fsync", of_descriptor("fsync"))
    wrap("replace", lambda source, target, **_: _point("replace", Path(target), folder))

    def reach(point: str) -> None:
        calls[point] += 1
        if here(point, "before") or here(point, "after"):
            end()

    return reach


def _point(call: str, path: Path, folder: Path) -> str:
    """The name of a call on a file; empty for what is none of the run's."""
    if folder not in path.parents:
        return ""
    name = path.relative_to(folder).parts[0].removeprefix(".").partition(".")[0]
    return f"{call} {'checkpoint' if name == 'checkpoints' and path.suffix else name}"
