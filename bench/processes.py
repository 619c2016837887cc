"""What Linux says about a process: resident memory, its peak, processor time. Needs nothing but Python."""

from __future__ import annotations

import os

__all__ = ["busy_seconds", "cpu_seconds", "disk_bytes", "reset_peak", "resident_mib"]


def resident_mib(which: str, pid: int | str = "self") -> float:
    """Resident memory of a process: "VmRSS" now, "VmHWM" at most since it began or its peak was reset."""
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(which))


def reset_peak(pid: int | str = "self") -> None:
    """Let the peak of a process begin again at what it holds now."""
    with open(f"/proc/{pid}/clear_refs", "w") as file:
        file.write("5")


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
