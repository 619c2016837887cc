"""What Linux says about a process: memory, processor time, what it started. Needs nothing but Python.

It is also read by peers' interpreters, which have nothing of this repository's dependencies.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

__all__ = [
    "busy_seconds", "children_of", "cpu_seconds", "descendants", "disk_bytes", "proportional_mib", "reset_peak",
    "resident_mib",
]  # fmt: skip


def resident_mib(which: str, pid: int | str = "self") -> float:
    """Resident memory of a process: "VmRSS" now, "VmHWM" at most since it began or its peak was reset."""
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(which))


def reset_peak(pid: int | str = "self") -> None:
    """Let the peak of a process begin again at what it holds now."""
    with open(f"/proc/{pid}/clear_refs", "w") as file:
        file.write("5")


def proportional_mib(pid: int) -> float:
    """Resident memory of a process in MiB, pages that others share counted in parts (PSS); 0 if it has gone."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup") as file:
        return next((int(line.split()[1]) / 1024 for line in file if line.startswith("Pss:")), 0.0)
    return 0.0


def cpu_seconds(pid: int | str) -> float:
    """Processor time of all threads of a process, in user and kernel mode."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()  # the name before it may hold spaces
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def disk_bytes(pid: int | str = "self") -> int:
    """Bytes that a process had read from a disk; what came from the page cache does not count."""
    with open(f"/proc/{pid}/io") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("read_bytes"))


def busy_seconds() -> float:
    """Processor time of everything on the machine since it started, waiting for disks aside.

    Includes what the host gave to other machines (steal).
    """
    with open("/proc/stat") as file:
        user, nice, system, _, _, interrupts, soft, steal = map(int, file.readline().split()[1:9])
    return (user + nice + system + interrupts + soft + steal) / os.sysconf("SC_CLK_TCK")


def children_of(pid: int) -> list[int]:
    """Processes that `pid` started and that are still its children, in the order of their start.

    Raises:
        OSError: if `pid` has gone.
    """
    found: list[int] = []
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
        except FileNotFoundError:
            continue  # the thread has just ended
    return sorted(found)


def descendants(pid: int) -> list[int]:
    """A process and all that it or its children started, as far as they still have a living parent among them."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError, IndexError):
                stat = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
                children.setdefault(int(stat[1]), []).append(int(entry))
    found = [pid]
    for process in found:
        found += children.get(process, [])
    return found
