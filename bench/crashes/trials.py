"""Trials of `bench.crashes`: one run each, hit by one or more faults, resumed until it ends, checked after every life.

Takes a kind of fault and a seed; gives a `Trial` that says what was hit, where, and what did not hold after it.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.crashes.checks import Ending, after_life, at_end, journal_faults, read_log
from bench.crashes.hooks import Kill
from bench.crashes.victim import Life, Victim, start
from fl_core.config import RunConfig
from fl_core.run_folder import RunFolder
from fl_core.storage import FolderInUse

__all__ = ["LIMIT_S", "Fault", "Place", "Reference", "Trial", "measure_reference", "run_trial"]

LIMIT_S = 120.0  # of one life
_RIVAL = "is in use by another run; wait for it or choose another --out"
_LIVES = 20  # of a trial; a fault is at most one of these


@dataclass(frozen=True)
class Reference:
    """The uninterrupted run.

    Attributes:
        ending: what it left.
        rounds_s: of all rounds.
        total_s: of the whole life.
    """

    ending: Ending
    rounds_s: float
    total_s: float


@dataclass
class Trial:
    """What happened to one run.

    Attributes:
        kind, seed: which repeat it, as far as time does.
        faults: each with where it hit and whether everything held afterwards.
        violations: what did not hold.
        lives: processes that the run took.
        sentences: how lives ended that ended with one.
        equal: whether the end equals the uninterrupted run's bit for bit.
        repeated: openings that the ledger counts beyond one a round.
        rivals: second processes that were refused.
        torn: lives that left the ledger's last line half written, which the next one cut off and said so.
    """

    kind: str
    seed: str
    faults: list[dict[str, Any]] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    lives: int = 0
    sentences: list[str] = field(default_factory=list)
    ended: bool = False
    equal: bool = False
    repeated: int = 0
    rivals: int = 0
    torn: int = 0


@dataclass(frozen=True)
class Place:
    """Where a trial happens.

    Attributes:
        folder: the run folder; it is removed first.
        log: what its lives say.
        config: of the run.
        journals: of parties, if there are some.
        plant: changes the product first, to see the harness find it.
    """

    folder: Path
    log: Path
    config: RunConfig
    journals: tuple[Path, ...] = ()
    plant: Callable[[], None] | None = None

    def clear(self) -> None:
        """Forget an earlier trial."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for path in (self.log, self.log.with_suffix(".err")):
            path.unlink(missing_ok=True)

    def life(self, kill: Kill | None = None) -> Life:
        """The next process."""
        return Life(self.folder, self.log, self.config, kill, self.plant)


@dataclass(frozen=True)
class Fault:
    """A kind of fault.

    Attributes:
        name: for tables.
        hit: does it to a life that has just been started, and returns once that has ended, or is about to: what was
            done and where (`point`, `phase`, ...), each time; nothing if the life ended first.
        kill: chooses at which point a life ends itself, if it does.
        mend: undoes it before the folder is looked at.
        sentences: what a life may say when it ends because of it; empty: it must not end by itself.
        most: faults of one trial.
        torn: whether files may end in a torn line.
        rivals: share of lives in which a second process is tried.
    """

    name: str
    hit: Callable[[Victim, Reference, random.Random], list[dict[str, Any]]]
    kill: Callable[[random.Random], Kill | None] = lambda draw: None
    mend: Callable[[], None] = lambda: None
    sentences: tuple[str, ...] = ()
    most: int = 1
    torn: bool = False
    rivals: float = 0.0


def measure_reference(place: Place) -> Reference:
    """Run to the end without a fault.

    Raises:
        RuntimeError: if that does not work.
    """
    place.clear()
    victim = start(place.life())
    victim.wait_for_rounds(LIMIT_S)
    ends = None
    while not victim.wait(0.002):
        if ends is None and victim.phase == "ending":
            ends = time.monotonic() - victim.started
    total = time.monotonic() - victim.started
    if [line["how"] for line in read_log(place.log, "ended")] != ["finished"] or victim.rounds_began is None:
        raise RuntimeError(f"the uninterrupted run failed: {place.log.read_text()[-2000:]}")
    return Reference(Ending.of(place.folder), (ends or total) - victim.rounds_began, total)


def run_trial(fault: Fault, place: Place, reference: Reference, seed: str) -> Trial:
    """One run from its begin to its end, or to its first violation.

    Args:
        fault: what hits it.
        place: where; cleared first.
        reference: the uninterrupted run of the same configuration.
        seed: of all that is drawn here.
    """
    draw, trial, ledger = random.Random(seed), Trial(fault.name, seed), b""
    place.clear()
    wanted = draw.randint(1, fault.most)
    while trial.lives < _LIVES and not trial.ended and not trial.violations:
        trial.lives += 1
        more = len(trial.faults) < wanted
        victim = start(place.life(fault.kill(draw) if more else None))
        if draw.random() < fault.rivals:
            trial.violations += _rival(place, victim, trial)
        hit = fault.hit(victim, reference, draw) if more else []
        if not victim.wait(LIMIT_S):
            trial.violations.append(f"a life was still at it ({victim.phase}) after {LIMIT_S:g} s")
            victim.signal(signal.SIGKILL)
            victim.wait(LIMIT_S)
        trial.faults += [{"life": trial.lives, "phase": victim.phase, "violations": [], **done} for done in hit]
        if hit:
            fault.mend()
        torn = fault.torn or any(done.get("how") == "torn" for done in trial.faults)
        violations, ledger, half = after_life(place.folder, place.log, place.config, ledger, torn)
        trial.torn += half
        if not (place.folder / "config.yaml").exists():
            ledger = b""  # it is begun anew
        trial.violations += violations + _ending(fault, place, trial, victim)
        if trial.faults:
            trial.faults[-1]["violations"] = list(trial.violations)
    if not (trial.ended or trial.violations):
        trial.violations.append(f"the run did not end in {_LIVES} lives")
    if trial.ended and not trial.violations:
        outcome = at_end(place.folder, place.log, reference.ending)
        trial.violations, trial.equal, trial.repeated = outcome.violations, outcome.equal, outcome.repeated
    for journal in place.journals:
        trial.violations += journal_faults(journal, place.log)
    if trial.violations and trial.faults:
        trial.faults[-1]["violations"] = list(trial.violations)
    return trial


def _ending(fault: Fault, place: Place, trial: Trial, victim: Victim) -> list[str]:
    """Whether a life ended as it may; notes it in `trial`."""
    ended = read_log(place.log, "ended")
    said = place.log.with_suffix(".err").read_text()
    found = [f"it printed a traceback: {said[-300:]!r}"] if "Traceback" in said else []
    if victim.killed and victim.status is not None and os.WTERMSIG(victim.status) == signal.SIGKILL:
        return found
    if victim.status != 0 or not ended:
        return [*found, f"a life ended with status {victim.status}: {said[-300:]!r}"]
    last = ended[-1]
    if last["how"] == "finished":
        trial.ended = True
        return found
    if last["how"] == "error":
        return [*found, f"a life ended with a traceback: {last['text'][-600:]}"]
    trial.sentences.append(last["text"])
    if not any(words in last["text"] for words in fault.sentences) or not trial.faults:
        return [*found, f"a life ended by itself: {last['text']}"]
    return found


def _rival(place: Place, victim: Victim, trial: Trial) -> list[str]:
    """Start a second process on the folder while the first, held still, has it."""
    if not (victim.wait_for_rounds(LIMIT_S) and victim.stand_still()):
        return []  # it ended by itself
    before = _contents(place.folder)
    pid = os.fork()
    if pid == 0:
        try:
            RunFolder(place.folder, resume=True)
        except FolderInUse as refusal:
            os._exit(0 if _RIVAL in str(refusal) else 1)
        finally:
            os._exit(2)
    refused = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    after = _contents(place.folder)
    victim.signal(signal.SIGCONT)
    trial.rivals += refused
    if not refused:
        return ["a second process was not refused with the lock's sentence"]
    return [] if after == before else ["a second process changed the folder"]


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
