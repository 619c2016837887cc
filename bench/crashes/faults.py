"""The faults of `bench.crashes`: what is done to a run, to a party or a worker of it, or to its disk, and when.

Each maker gives a `Fault` for `bench.crashes.trials.run_trial`. Times are uniform over the uninterrupted run's; half of
the kills of a run or a party are aimed at a point between two system calls instead.
"""

from __future__ import annotations

import os
import random
import select
import signal
import time
from pathlib import Path
from typing import Any

from bench.crashes.disk import Disk
from bench.crashes.hooks import POINTS, Kill
from bench.crashes.parties import Parties
from bench.crashes.trials import LIMIT_S, Fault, Reference
from bench.crashes.victim import Victim
from bench.processes import descendants

__all__ = ["aimed", "disk_full", "disk_read_only", "party_killed", "power_cut", "run_killed", "worker_killed"]

# Files of which a life writes one each; a fifth of the aimed kills are there.
_ONCE = ("config", "adapter", "summary")
Hits = list[dict[str, Any]]


def aimed(draw: random.Random) -> Kill:
    """A point at which a life ends itself."""
    ends = [point for point in POINTS if point.partition(" ")[2] in _ONCE]
    rounds = [point for point in POINTS if point not in ends]
    point = draw.choice(ends if draw.random() < 0.2 else rounds)
    number = 1 if point in ends else draw.randint(1, 6)
    return Kill(point, number, draw.choice(("before", "after", "torn") if "fsync" in point else ("before", "after")))


def run_killed() -> Fault:
    """SIGKILL to the run itself; in some of its lives a second process is tried."""

    def kill(draw: random.Random) -> Kill | None:
        return aimed(draw) if draw.random() < 0.5 else None

    def hit(victim: Victim, reference: Reference, draw: random.Random) -> Hits:
        chosen = victim.life.kill
        if chosen is not None:
            victim.wait(LIMIT_S)
            what = {"point": f"{chosen.how} {chosen.point}", "number": chosen.number, "how": chosen.how}
            return [what] if victim.killed else []
        when = _moment(victim, reference, draw)
        if when is None:
            return []
        victim.signal(signal.SIGKILL)
        victim.wait(LIMIT_S)
        return [when] if victim.killed else []

    return Fault("run", hit, kill, most=6, rivals=0.15)


def worker_killed() -> Fault:
    """SIGKILL to a process that computes cohorts."""

    def hit(victim: Victim, reference: Reference, draw: random.Random) -> Hits:
        when = _moment(victim, reference, draw, early=0.15)
        workers = [] if when is None else _workers(victim.pid)
        if when is None or not workers:
            return []
        os.kill(draw.choice(workers), signal.SIGKILL)
        return [{**when, "phase": victim.phase}]

    return Fault("worker", hit, sentences=("nothing was opened, the run can be resumed",))


def party_killed(parties: Parties) -> Fault:
    """SIGKILL to a party, at an entry of its journal or at any time; a sixth of the kills are the run's own."""
    aims: list[tuple[int, Kill]] = []

    def aim(draw: random.Random) -> None:  # at a party, never at the run itself
        aims.clear()
        if draw.random() < 0.5:
            rank, kill = draw.randrange(2), Kill("journal", draw.randint(1, 5), draw.choice(("before", "after")))
            parties.again(rank, kill)
            aims.append((rank, kill))

    def hit(victim: Victim, reference: Reference, draw: random.Random) -> Hits:
        hits: Hits = []
        planned = None if aims else draw.choice(("party 0", "party 1", "run"))
        if planned:
            when = _moment(victim, reference, draw)
            if when is None:
                return []
            hits.append({**when, "phase": victim.phase, "point": planned})
            if planned == "run":
                victim.signal(signal.SIGKILL)
            else:
                parties.kill(int(planned[-1]))
        poller = select.poll()
        for handle in (victim.handle, *parties.handles):
            poller.register(handle, select.POLLIN)
        ready = [descriptor for descriptor, _ in poller.poll(1000 * LIMIT_S)]
        ended = [rank for rank, handle in enumerate(parties.handles) if handle in ready]
        if ended and not planned:
            rank, kill = aims[0]
            hits.append({"point": f"party {rank} {kill.how} its journal's entry", "phase": victim.phase})
        if ended:
            time.sleep(draw.uniform(0.0, 0.3))  # a supervisor takes its time
        for rank in ended or [rank for rank, _ in aims]:
            parties.again(rank)  # also one whose aim was never reached
        return hits

    words = ("the run can be resumed", "party 0 of 2", "party 1 of 2")
    return Fault("party", hit, aim, sentences=words, most=3)


def disk_full(disk: Disk) -> Fault:
    """The disk has no space left, or next to none, until it is freed for the next life."""

    def hit(victim: Victim, reference: Reference, draw: random.Random) -> Hits:
        when = _moment(victim, reference, draw)
        if when is None:
            return []
        left = draw.choice((0, 0, 500, 1500, 3000, 6000))
        disk.fill(left)
        return [{**when, "phase": victim.phase, "point": f"{left} bytes left"}]

    words = ("cannot be written", "could not record", "cannot be created")
    return Fault("disk-full", hit, mend=disk.free, sentences=words, most=3, torn=True)


def disk_read_only(disk: Disk) -> Fault:
    """The disk turns read-only, as after an error, until it is mounted anew for the next life."""

    def hit(victim: Victim, reference: Reference, draw: random.Random) -> Hits:
        when = _moment(victim, reference, draw)
        # ext4 that aborts while an fsync is under way may acknowledge what it has lost, to any program.
        if when is None or not victim.stand_still():
            return []
        disk.make_read_only()
        phase = victim.phase
        victim.signal(signal.SIGCONT)
        victim.wait(LIMIT_S)
        return [{**when, "phase": phase}]

    words = ("cannot be written", "could not record", "cannot be created")
    return Fault("disk-readonly", hit, mend=disk.restart, sentences=words, most=3, torn=True)


def power_cut(disk: Disk) -> Fault:
    """The run is killed and the disk has only what was synced."""

    def hit(victim: Victim, reference: Reference, draw: random.Random) -> Hits:
        when = _moment(victim, reference, draw)
        if when is None or not victim.stand_still():
            return []
        disk.cut_power()
        victim.signal(signal.SIGKILL)
        victim.wait(LIMIT_S)
        return [when]

    return Fault("power-cut", hit, mend=disk.restart, most=3, torn=True)


def _moment(victim: Victim, reference: Reference, draw: random.Random, early: float = 0.3) -> dict[str, Any] | None:
    """Wait for a random moment of a life: a share of them in all of it, the others while rounds run.

    Returns:
        What the moment was; None if the life ended before.
    """
    if draw.random() < early:
        clock, seconds = "start", draw.uniform(0.0, reference.total_s)
    else:
        clock = "rounds"
        if not victim.wait_for_rounds(LIMIT_S):
            return None
        seconds = draw.uniform(0.0, 1.1 * reference.rounds_s * victim.rounds_left)
    return None if victim.wait(seconds) else {"clock": clock, "after_s": round(seconds, 4)}


def _workers(pid: int) -> list[int]:
    """A life's processes that compute cohorts."""
    found = []
    for child in descendants(pid)[1:]:
        try:
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(child)
        except OSError:
            continue
    return found
