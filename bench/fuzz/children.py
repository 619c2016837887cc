"""Tries in child processes, watched: one that hangs, dies or takes memory costs itself only, and is counted.

A child is forked for many tries, counts in memory that it shares with its parent, and is killed when one try takes too
long; the next child goes on with the try after it.
"""

from __future__ import annotations

import json
import mmap
import os
import random
import resource
import select
import signal
import struct
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from bench.forks import fork, output_to
from bench.fuzz.oracle import Meter, Surface, try_one

__all__ = ["Tally", "case_of", "try_surface"]

_COUNTS = struct.Struct("<6q")  # try, when it began (ns), refused, accepted, peak (bytes), slowest (ns)
_CHILD = 4000  # tries of one child: the next begins with fresh memory
_MOST_VIOLATIONS = 200


@dataclass
class Tally:
    """Counts of one surface; `violations` have the try's seed and what happened."""

    tried: int = 0
    refused: int = 0
    accepted: int = 0
    peak: int = 0
    slowest_s: float = 0.0
    violations: list[dict[str, Any]] = field(default_factory=list)


def case_of(surface: Surface, seed: str) -> Any:
    """The input of a try, from its seed and what the surface was made of."""
    return surface.draw(random.Random(seed))


def try_surface(
    surface: Surface,
    seeds: list[str],
    on_progress: Callable[[Tally], None] = lambda tally: None,
) -> Tally:
    """Try all seeds of one surface.

    Args:
        surface: what reads.
        seeds: one a try.
        on_progress: told the counts now and then.
    """
    tally = Tally()
    done = 0
    while done < len(seeds) and len(tally.violations) < _MOST_VIOLATIONS:
        done += _child(surface, seeds[done : done + _CHILD], tally)
        on_progress(tally)
    return tally


def _child(surface: Surface, seeds: list[str], tally: Tally) -> int:
    """Fork a child for these tries and watch it; returns how many were made."""
    counts = mmap.mmap(-1, _COUNTS.size)
    _COUNTS.pack_into(counts, 0, 0, time.monotonic_ns(), 0, 0, 0, 0)
    read_end, write_end = os.pipe()

    def live() -> None:
        os.close(read_end)
        _tries(surface, seeds, counts, write_end)

    process = fork(live)
    os.close(write_end)
    said, killed = bytearray(), False
    while True:
        if select.select([read_end], [], [], 0.5)[0]:
            piece = os.read(read_end, 2**16)
            if not piece:
                break
            said += piece
            continue
        _, began, *_ = _COUNTS.unpack_from(counts, 0)
        if time.monotonic_ns() - began > surface.limits.seconds * 1e9 and not killed:
            killed = True
            os.kill(process, signal.SIGKILL)
    os.close(read_end)
    _, status = os.waitpid(process, 0)
    at, _, refused, accepted, peak, slowest = _COUNTS.unpack_from(counts, 0)
    whole = status == 0
    if not whole:
        how = f"did not end within {surface.limits.seconds:g} s" if killed else _death(status)
        tally.violations.append({"seed": seeds[at], "what": how})
    made = len(seeds) if whole else at + 1
    tally.tried += made
    tally.refused, tally.accepted = tally.refused + refused, tally.accepted + accepted
    tally.peak, tally.slowest_s = max(tally.peak, peak), max(tally.slowest_s, slowest / 1e9)
    tally.violations += [json.loads(line) for line in said.decode().splitlines() if line.endswith("}")]
    counts.close()
    return made


def _tries(surface: Surface, seeds: list[str], counts: mmap.mmap, write_end: int) -> NoReturn:
    """The child's whole life."""
    output_to(os.devnull)
    warnings.simplefilter("ignore")
    room = surface.limits.address_room + _address_space()
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    meter = Meter()
    refused = accepted = peak = slowest = 0
    for number, seed in enumerate(seeds):
        _COUNTS.pack_into(counts, 0, number, time.monotonic_ns(), refused, accepted, peak, slowest)
        outcome = try_one(surface, case_of(surface, seed), meter)
        if outcome.violation is not None:
            line = json.dumps({"seed": seed, "what": outcome.violation}) + "\n"
            os.write(write_end, line.encode())
        elif outcome.refused:
            refused += 1
        else:
            accepted += 1
        peak, slowest = max(peak, outcome.peak), max(slowest, int(outcome.seconds * 1e9))
    _COUNTS.pack_into(counts, 0, len(seeds), time.monotonic_ns(), refused, accepted, peak, slowest)
    os._exit(0)


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _death(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"the process died of {signal.Signals(os.WTERMSIG(status)).name}"
    return f"the process ended with code {os.waitstatus_to_exitcode(status)}"
