"""Kills runs, parties, workers and disks at random moments, hundreds of times, and checks what must hold afterwards.

`python -m bench.crashes --out DIR --tries N --seed S` writes `crashes.json` and `crashes.md`. This process imports
everything once, computes nothing itself, and forks a process for every life of a run, so that a kill costs about a
second. A trial is repeated by its seed: `--only SEED`, with times as exact as a scheduler is. Exit code 1 if anything
did not hold. Needs Linux; disks that fail need root.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from bench.command import add_scratch, add_seed, parser_of, say, seconds_left
from bench.crashes.disk import Disk, DiskMissing, why_no_disk
from bench.crashes.faults import disk_full, disk_read_only, party_killed, power_cut, run_killed, worker_killed
from bench.crashes.page import FAULTS, crashes_page, summary_of
from bench.crashes.parties import Parties
from bench.crashes.trials import Fault, Place, Trial, measure_reference, run_trial
from bench.forks import warm_up
from bench.measure import environment
from bench.records import load_by_name, store
from bench.small_run import small_config

__all__ = ["KINDS", "main", "try_kind"]

KINDS = tuple(FAULTS)
_DISKS: dict[str, Callable[[Disk], Fault]] = {
    "disk-full": disk_full,
    "disk-readonly": disk_read_only,
    "power-cut": power_cut,
}


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = _options()
    options = parser.parse_args(arguments)
    if options.only is not None and options.only.split("/")[1:2] not in [[kind] for kind in KINDS]:
        parser.error(f"--only is {options.only!r}; allowed: a trial's seed, such as 27/run/3")
    warm_up()
    if options.only is not None:
        return _repeat(options.only, options.scratch)
    path = options.out / "crashes.json"
    part = load_by_name(path)
    part["environment"] = [environment("cpu")]
    failed = False
    for kind in options.kinds:
        command = f"python -m bench.crashes --out DIR --kinds {kind} --tries {options.tries} --seed {options.seed}"
        started = time.monotonic()

        def keep(trials: list[Trial], kind: str = kind, command: str = command, started: float = started) -> None:
            row = summary_of([asdict(trial) for trial in trials])
            part["rows"][kind] = row | {"seconds": round(time.monotonic() - started, 1), "command": command}
            store(path, part)

        with tempfile.TemporaryDirectory(prefix="sotto-crashes-", dir=options.scratch) as scratch:
            try:
                try_kind(kind, options.tries, options.seed, Path(scratch).resolve(), keep)
            except DiskMissing as missing:
                say(f"{kind}: not run: {missing}")
                part["rows"][kind] = {"not_run": str(missing)}
            else:
                failed |= bool(part["rows"][kind]["violations"])
        store(path, part)
        path.with_suffix(".md").write_text(crashes_page(part))
    return int(failed)


def try_kind(kind: str, tries: int, seed: str, scratch: Path, keep: Callable[[list[Trial]], None]) -> None:
    """Trials of one kind until so many faults were tried.

    Args:
        kind: one of `KINDS`.
        tries: faults.
        seed: of all trials.
        scratch: folder for runs.
        keep: called with all trials so far after each of them.

    Raises:
        DiskMissing: if it needs a disk that cannot be made here.
    """
    trials: list[Trial] = []
    done, started = 0, time.monotonic()
    with _tried(kind, scratch) as trial_of:
        while done < tries and len(trials) <= 4 * tries:
            trials.append(trial_of(f"{seed}/{kind}/{len(trials)}"))
            done += len(trials[-1].faults)
            keep(trials)
            if trials[-1].violations:
                say(f"{trials[-1].seed}: {trials[-1].faults[-1:]}: {trials[-1].violations}")
            broken, left = sum(bool(trial.violations) for trial in trials), seconds_left(started, done, tries)
            say(f"{kind}: {done} of {tries} faults, {broken} runs broken, {left:.0f} s left")


def _repeat(seed: str, scratch: Path | None) -> int:
    """One trial again, told and kept nowhere."""
    with tempfile.TemporaryDirectory(prefix="sotto-crashes-", dir=scratch) as folder:
        try:
            with _tried(seed.split("/")[1], Path(folder).resolve()) as trial_of:
                trial = trial_of(seed)
        except DiskMissing as missing:
            say(f"not run: {missing}")
            return 2
    print(json.dumps(asdict(trial), indent=1))
    return int(bool(trial.violations))


@contextlib.contextmanager
def _tried(kind: str, scratch: Path) -> Iterator[Callable[[str], Trial]]:
    """What makes a trial from its seed, once the run was measured without a fault."""
    with _prepared(kind, scratch) as (fault, place):
        # Twice: the first life also fills the machine's caches, and is slower.
        reference = min((measure_reference(place) for _ in range(2)), key=lambda found: found.rounds_s)
        yield lambda seed: run_trial(fault, place, reference, seed)


@contextlib.contextmanager
def _prepared(kind: str, scratch: Path) -> Iterator[tuple[Fault, Place]]:
    """A fault and where its runs happen."""
    folder, log = scratch / "run", scratch / "log"
    if kind == "run":
        yield run_killed(), Place(folder, log, small_config())
    elif kind == "worker":
        yield worker_killed(), Place(folder, log, small_config(engine={"workers": 2, "threads": 1, "cohort_size": 4}))
    elif kind == "party":
        with Parties(scratch / "parties") as parties:
            config = small_config(deployment=parties.folder)
            yield party_killed(parties), Place(folder, log, config, tuple(parties.journals))
    else:
        if (why := why_no_disk()) is not None:
            raise DiskMissing(why)
        with Disk(scratch) as disk:
            # Every third round, so that the ledger and the metrics meet the failing disk too.
            config = small_config(engine={"threads": 1, "cohort_size": 4, "checkpoint_every": 3})
            yield _DISKS[kind](disk), Place(disk.path / "run", log, config)


def _options() -> argparse.ArgumentParser:
    parser = parser_of("crashes", __doc__, "crashes.json and crashes.md")
    parser.add_argument("--tries", type=int, default=40, help="faults of each kind")
    add_seed(parser)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="default: all")
    parser.add_argument("--only", metavar="SEED", help="repeat the one trial of this seed, and keep nothing")
    add_scratch(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
