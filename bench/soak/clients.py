"""Clients that come and go, parties that are killed, links that break: a deployment under load, watched from outside.

Starts what an operator would: three daemons (`sotto party`, TLS) behind links that can be cut, a coordinator, and a
crowd of clients, each a process; then does them harm from a seed until the time is over. Two quiet stretches, one after
the warm-up and one at the end, are where descriptors and threads are compared: then everybody is connected.
"""

from __future__ import annotations

import contextlib
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.soak.checks import faults_of, openings_of_journal, outcomes, read_log
from bench.soak.deployment import Deployment, Load
from bench.soak.lines import GrowingFile
from bench.soak.load import PARTIES
from bench.soak.samples import Sample, sample_of
from bench.soak.verdict import Limits, assess

__all__ = ["run_clients"]

_LOOK_S = 0.5
_OBJECTS_EVERY = 8  # looks
_END_S = 120.0
_BURN = "while True: pass"
_HARM = {"kill": 1, "reset all": 2, "reset one": 3, "link stands": 2, "party stopped": 1}  # and how often, relatively


def run_clients(
    load: Load, folder: Path, seed: str, say: Callable[[str], None], limits: Limits | None = None
) -> tuple[dict[str, Any], list[Sample]]:
    """A row of the result, and the samples that it rests on.

    Args:
        load: how much of what.
        folder: for keys, journals and logs; made here.
        seed: of clients' misdeeds and of the harm.
        say: told how it goes.
        limits: what counts as flat; None: too short a run to ask.
    """
    with _running(folder, load, seed) as deployment:
        watch = _Watch(deployment, random.Random(f"{seed}/harm"), say)
        watch.go()
        lines = read_log(deployment.log)
        row = outcomes(lines)
        journals = [openings_of_journal(folder / f"party-{rank}" / "journal") for rank in range(PARTIES)]
        problems = faults_of(lines, journals, load.length, load.n_min, load.longest_s) + watch.problems
        row |= {"harm": dict(watch.harm), "clients_did": deployment.crowd(), "seconds": round(watch.seconds, 1)}
        row["links"] = {
            "connections": sum(link.passed for link in deployment.links),
            "cut": sum(link.cut for link in deployment.links),
        }
        row["relay"] = next((dict(line) for line in lines if line["kind"] == "ended"), {})
        if row["opened"] == 0:
            problems.append("no sum was opened")
        row |= {"processes": {}, "problems": problems}
        if limits is not None:
            row["processes"], flat = _flatness(watch, limits)
            problems += flat
        return row, watch.samples


@contextlib.contextmanager
def _running(folder: Path, load: Load, seed: str) -> Iterator[Deployment]:
    deployment = Deployment(folder, load, seed)
    try:
        deployment.start()
        yield deployment
    finally:
        deployment.close()


class _Watch:
    """Looks at everyone and does harm until the coordinator has ended."""

    def __init__(self, deployment: Deployment, draw: random.Random, say: Callable[[str], None]) -> None:
        self._deployment, self._draw, self._say = deployment, draw, say
        self.samples: list[Sample] = []
        self.quiet: list[list[Sample]] = [[], []]
        self.harm: Counter[str] = Counter()
        self.problems: list[str] = []
        self.seconds = 0.0
        self._burner: subprocess.Popen[bytes] | None = None
        self._returning: dict[int, float] = {}
        self._log, self._done = GrowingFile(deployment.log), 0

    def go(self) -> None:
        """Until the coordinator has ended, or should have."""
        deployment, load = self._deployment, self._deployment.load
        began = next_harm = time.monotonic()
        warm, looks, shown = 0.2 * load.seconds, 0, 0.0
        first = (warm, warm + load.quiet_s)
        last = (load.seconds - load.quiet_s, load.seconds)
        coordinator = deployment.processes["coordinator"]
        try:
            while coordinator.alive():
                now = time.monotonic() - began
                # Parties that are away come back before a quiet stretch, and clients finish what they were at.
                calm = any(start - load.quiet_s <= now < end for start, end in (first, last)) or now >= last[0]
                deployment.quiet(calm)
                if not calm and time.monotonic() >= next_harm:
                    self._do_harm(now)
                    next_harm = time.monotonic() + self._draw.uniform(0.5, 1.5) * load.harm_s
                self._bring_back(now, calm)
                self._burn(load.seconds >= 60 and load.seconds / 3 < now < 2 * load.seconds / 3)
                stretch = next((i for i, (start, end) in enumerate((first, last)) if start <= now < end), None)
                self._look(now, looks, stretch)
                looks += 1
                if now > load.seconds + load.longest_s * 4 + _END_S:
                    self.problems.append("the coordinator hangs: it did not end in time")
                    break
                if now - shown > load.seconds / 20:
                    shown = now
                    self._say(f"{now:.0f} of {load.seconds:.0f} s, {self._rounds()} rounds, {dict(self.harm)}")
                time.sleep(_LOOK_S if load.seconds > 60 else 0.1)
        finally:
            self._burn(False)
        self.seconds = time.monotonic() - began
        lines = read_log(deployment.log)
        if not lines or lines[-1]["kind"] != "ended":
            text = (deployment.folder / "coordinator.out").read_text(errors="replace")[-500:]
            self.problems.append(f"the coordinator did not come to its end: {text}")
        alive = deployment.crowd().get("alive", 0)
        if alive != load.clients:
            self.problems.append(f"{load.clients - alive} of {load.clients} clients ended with an error")

    def _rounds(self) -> int:
        """Rounds that have ended."""
        kinds = [json.loads(line)["kind"] for line in self._log.new_lines()]
        self._done += sum(kind in ("opened", "refused", "given up") for kind in kinds)
        return self._done

    def _do_harm(self, now: float) -> None:
        """One fault; party 0 is killed in the warm-up only, and later parties 1 and 2, so that it has a long life."""
        load, links = self._deployment.load, self._deployment.links
        (what,) = self._draw.choices(tuple(_HARM), tuple(_HARM.values()))
        if what == "kill":
            rank = self._draw.randrange(PARTIES) if now < 0.1 * load.seconds else self._draw.choice((1, 2))
            if rank in self._returning:
                return
            self._deployment.processes[f"party {rank}"].kill()
            self._returning[rank] = now + self._draw.uniform(0.0, 1.0)
        elif what == "party stopped":
            rank = self._draw.randrange(PARTIES)
            if rank in self._returning:
                return
            process = self._deployment.processes[f"party {rank}"]
            process.signal(signal.SIGSTOP)
            time.sleep(self._draw.uniform(0.2, 1.0))
            process.signal(signal.SIGCONT)
        elif what == "link stands":
            self._draw.choice(links).stand_still(self._draw.uniform(0.2, 2.0))
        elif not self._draw.choice(links).reset(self._draw, what == "reset all"):
            return
        self.harm[what] += 1

    def _bring_back(self, now: float, calm: bool) -> None:
        for rank, when in list(self._returning.items()):
            if calm or now >= when:
                self._deployment.start_party(rank)
                del self._returning[rank]
                self.harm["restarted"] += 1

    def _burn(self, wanted: bool) -> None:
        if wanted and self._burner is None:
            self._burner = subprocess.Popen([sys.executable, "-c", _BURN])
            self.harm["processor burnt"] += 1
        elif not wanted and self._burner is not None:
            self._burner.kill()
            self._burner.wait()
            self._burner = None

    def _look(self, now: float, looks: int, stretch: int | None) -> None:
        number, processes = self._rounds(), self._deployment.processes
        for who in ("coordinator", *(f"party {rank}" for rank in range(PARTIES))):
            asks = looks % _OBJECTS_EVERY == 0 and not self._deployment.load.forked
            objects = self._deployment.objects(who) if asks else None
            sample = sample_of(who, processes[who].pid, now, number, objects)
            if sample is not None and sample.rss:
                self.samples.append(sample)
                if stretch is not None:
                    self.quiet[stretch].append(sample)


def _flatness(watch: _Watch, limits: Limits) -> tuple[dict[str, Any], list[str]]:
    """Each process's figures in its longest life after the warm-up, and what is not flat."""
    figures: dict[str, Any] = {}
    problems: list[str] = []
    begun = watch.quiet[0][0].seconds if watch.quiet[0] else 0.0
    for who in dict.fromkeys(sample.who for sample in watch.samples):
        lives: dict[int, list[Sample]] = {}
        for sample in watch.samples:
            if sample.who == who and sample.seconds >= begun:
                lives.setdefault(sample.pid, []).append(sample)
        longest = max(lives.values(), key=len, default=[])
        if not longest:
            continue
        before, after = ([s for s in part if s.who == who] for part in watch.quiet)
        figures[who] = assess(longest, limits, rounds=False, quiet=(before, after))
        figures[who] |= {"lives": len(lives), "rounds": longest[-1].round - longest[0].round}
        problems += figures[who].pop("problems")
    return figures, problems
