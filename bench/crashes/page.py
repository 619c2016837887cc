"""From trials of `bench.crashes` to a Markdown page."""

from __future__ import annotations

from collections import Counter

from bench.markdown import measured, table
from bench.records import Part, Row

__all__ = ["FAULTS", "crashes_page", "summary_of"]

# What a life is at, as `bench.crashes.hooks.PHASES`, in words that say what a kill there can cost.
_WHERE = {
    "starting": "before the first round",
    "clients": "before the ledger's entry",
    "ledger entry": "in the ledger's entry",
    "entered": "from entry to opening",
    "opened": "from opening to metrics",
    "metrics": "in metrics",
    "checkpoint": "in the checkpoint",
    "between": "between rounds",
    "ending": "after the last round",
}
FAULTS = {
    "run": "SIGKILL to the run, aggregation in the clear",
    "party": "SIGKILL to one of two parties under SMPC, or to the run",
    "worker": "SIGKILL to one of two workers",
    "disk-full": "the run folder's disk is full, then freed",
    "disk-readonly": "the run folder's disk turns read-only, then is mounted anew",
    "power-cut": "SIGKILL, and the disk loses what was not synced",
}


def summary_of(trials: list[Row]) -> Row:
    """Counts of one kind's trials."""
    faults = [fault for trial in trials for fault in trial["faults"]]
    return {
        "runs": len(trials),
        "tried": len(faults),
        "survived": sum(not fault["violations"] for fault in faults),
        "aimed": sum("number" in fault or "journal" in fault.get("point", "") for fault in faults),
        "where": dict(Counter(fault["phase"] for fault in faults)),
        "resumed": sum(trial["lives"] - 1 for trial in trials),
        "ended": sum(trial["ended"] for trial in trials),
        "equal": sum(trial["equal"] for trial in trials),
        "repeated_runs": sum(trial["repeated"] > 0 for trial in trials),
        "repeated_openings": sum(trial["repeated"] for trial in trials),
        "sentences": sum(len(trial["sentences"]) for trial in trials),
        "torn": sum(trial["torn"] for trial in trials),
        "rivals": sum(trial["rivals"] for trial in trials),
        "violations": [
            {"seed": trial["seed"], "fault": trial["faults"][-1:], "what": what}
            for trial in trials
            for what in trial["violations"]
        ],
    }


def crashes_page(part: Part) -> str:
    """One page of what was tried and what held."""
    lines = [
        "# Crashes: survived / tried",
        "",
        *measured(part["environment"]),
        "",
        "Each run has ten rounds of a small task in test mode, and is hit by one to six faults, each in another "
        "process of it; half of the kills of runs and parties are aimed at a point between two system calls, the "
        "others come at random times. After every process: the ledger counts at least what was seen to be opened, its "
        "chain holds and it lost nothing; no two opened sums share noise or a stream; every file is whole. At the end: "
        "no litter; a run whose rounds were each opened once equals the uninterrupted one bit for bit (adapter, "
        "optimiser, checkpoint, metrics but for seconds, ledger but for the run's name). A round that was lost after "
        "its entry is drawn again with fresh noise and counted twice, and one that a party's death began again before "
        "its entry with fresh noise, both by design: such a run is compared up to that round and is not in the column "
        "of equal ones. A line that the ledger has half of, since its write was cut short, is cut off by the next "
        "process, which says so: nothing had been opened for it.",
        "",
    ]
    header = [
        "fault", "survived / tried", "runs ended / begun", "processes resumed", "equal bit for bit",
        "with openings counted twice", "second process refused", "torn ledger lines cut off", "violations",
    ]  # fmt: skip
    rows = [
        [
            FAULTS[kind], f"{row['survived']} / {row['tried']}", f"{row['ended']} / {row['runs']}", row["resumed"],
            row["equal"], row["repeated_runs"], row["rivals"], row["torn"], len(row["violations"]),
        ]
        for kind, row in part["rows"].items()
        if "not_run" not in row
    ]  # fmt: skip
    lines += [*table(header, rows), ""]
    lines += [f"* {FAULTS[k]}: `{row['command']}`" for k, row in part["rows"].items() if "command" in row]
    lines += [f"* Not run: {FAULTS[k]}: {row['not_run']}." for k, row in part["rows"].items() if "not_run" in row]
    where = [
        [FAULTS[kind], *(row["where"].get(phase, 0) for phase in _WHERE)]
        for kind, row in part["rows"].items()
        if "not_run" not in row
    ]
    lines += ["", "## Where they hit", "", *table(["fault", *_WHERE.values()], where), ""]
    broken = [
        f"* {kind}, seed `{found['seed']}`, {found['fault']}: {found['what']}"
        for kind, row in part["rows"].items()
        for found in row.get("violations", [])
    ]
    if broken:
        lines += ["## What did not hold", "", *broken, ""]
    return "\n".join(lines)
