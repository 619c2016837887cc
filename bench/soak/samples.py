"""What a process holds, as the kernel says: memory, descriptors, threads, children, processor time. Needs Linux."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from bench.processes import children_of

__all__ = ["Sample", "sample_of"]

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Sample:
    """One look at one process.

    Attributes:
        who: its name, the same over restarts.
        pid: its process id.
        seconds: since the watch began.
        round: rounds done by then.
        rss, pss, uss: bytes of resident memory; shared pages in parts; private pages that it wrote.
        descriptors, threads, children: how many.
        cpu_s: processor time so far, of all its threads, in user and kernel mode.
        objects: that Python's garbage collector tracks; None: not asked.
    """

    who: str
    pid: int
    seconds: float
    round: int
    rss: int
    pss: int
    uss: int
    descriptors: int
    threads: int
    children: int
    cpu_s: float
    objects: int | None = None


def sample_of(who: str, pid: int, seconds: float, number: int, objects: int | None = None) -> Sample | None:
    """A look at a process now; None if it has gone."""
    try:
        memory = {
            line.split(":")[0]: 1024 * int(line.split()[1])
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        }
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        descriptors = len(os.listdir(f"/proc/{pid}/fd"))
        children = len(children_of(pid))
    except (OSError, IndexError):
        return None
    return Sample(
        who=who,
        pid=pid,
        seconds=round(seconds, 3),
        round=number,
        rss=memory.get("Rss", 0),
        pss=memory.get("Pss", 0),
        # No clean pages: a library's become private when the last other process that maps it ends.
        uss=memory.get("Private_Dirty", 0),
        descriptors=descriptors,
        threads=int(fields[17]),
        children=children,
        cpu_s=round((int(fields[11]) + int(fields[12])) * _TICK_S, 2),
        objects=objects,
    )
