"""From measured cells of `bench.rounds` to a Markdown page."""

from __future__ import annotations

import math
import statistics

from bench.markdown import measured, table
from bench.records import Part, Row
from bench.rounds.cells import RANKS

__all__ = ["WORKS", "ordinary", "rounds_page", "seconds_of"]

_FRAMEWORKS = {
    "pfl": "pfl, one process",
    "pfl-processes": "pfl, a process a core",
    "flower": "Flower, an actor a core",
    "sotto": "Sotto, one process",
    "sotto-workers": "Sotto, a worker a core",
}
WORKS = {"mnist": "MNIST, 6 images a client", "next_word": "Next word, 16 sequences of 20 tokens a client"}


def seconds_of(row: Row) -> float | None:
    """Median seconds of a round over all runs of a cell; None if no round was counted."""
    seconds = [value for run in row["runs"] for value in run["seconds"]]
    return statistics.median(seconds) if seconds else None


def rounds_page(part: Part) -> str:
    """One page of what was measured and what was not."""
    lines = [
        "# Rounds beside pfl-research and Flower",
        "",
        *measured(part["environment"]),
        *(f"{_FRAMEWORKS[name]}: {said}." for name, said in _versions(part["rows"]).items()),
        "",
        "Same base, adapter, records and local step (one step of SGD of the adapter over all of a client's records); "
        "every client takes part in every round; nothing is evaluated. Seconds: median from the end of a round to the "
        "end of the next, the first one not counted. Memory: largest sum over all processes, shared pages once. Load: "
        "of the machine before the run. Private rows have the same clip norm "
        f"({part['clip_norm']:g}) and noise multiplier ({part['noise_multiplier']:g}). pfl and Flower add "
        "floating-point Gaussian noise of ordinary generators to the sum; Sotto adds discrete Gaussian noise keyed by "
        "the operating system and, without privacy too, clips and puts updates on its grid. Guarantee: of one "
        "client's update.",
        "",
    ]
    for work, words in WORKS.items():
        chosen = [row for row in part["rows"] if row["work"] == work]
        main = [row for row in chosen if row["inputs"] == "raw" and ordinary(row)]
        if main:
            lines += [f"## {words}", "", *_rows_table(main), ""]
    stored = [row for row in part["rows"] if row["inputs"] == "stored" and ordinary(row)]
    if stored:
        lines += ["## With the frozen layers' results stored", ""]
        lines += [
            "As `engine.keep_features` (Sotto's default), for all frameworks alike.",
            "",
            *_rows_table(stored),
            "",
        ]
    grown = [row for row in part["rows"] if not ordinary(row) and not row.get("whole")]
    if grown:
        lines += ["## Sotto by adapter rank and number of parties", "", *_rows_table(grown, growth=True), ""]
    whole = [row for row in part["rows"] if row.get("whole") and seconds_of(row) is not None]
    if whole:
        lines += ["## Whole runs", "", *_whole_runs(whole), ""]
    if part.get("arithmetic"):
        lines += ["## What arithmetic allows", "", *_arithmetic(part), ""]
    if part["equal_work"]:
        lines += ["## Equal work", "", *_equal(part), ""]
    return "\n".join(lines)


def ordinary(row: Row) -> bool:
    """Whether a row is one of those that frameworks are compared by: a few rounds, the usual rank and parties."""
    return row["rank"] == RANKS[row["work"]] and row["parties"] in (0, 3) and not row.get("whole")


def _versions(rows: list[Row]) -> dict[str, str]:
    found: dict[str, str] = {}
    for row in rows:
        for run in row["runs"]:
            if "versions" in run:
                found[row["framework"]] = run["versions"]
    return {name: found[name] for name in _FRAMEWORKS if name in found}


def _rows_table(rows: list[Row], growth: bool = False) -> list[str]:
    header = [
        "clients", "framework", "privacy", "guarantee", "s a round", "rounds/min", "clients/s", "peak MiB",
        "rounds counted", "load", "not run",
    ]  # fmt: skip
    if growth:
        header[1:2] = ["work", "parameters"]
    body = []
    for row in sorted(rows, key=lambda row: (row["work"], row["clients"])):
        seconds, runs = seconds_of(row), row["runs"]
        first: list[object] = [f"{row['clients']:,}", _FRAMEWORKS[row["framework"]]]
        if growth or row["inputs"] == "stored":
            parameters = next((f"{run['parameters']:,}" for run in runs if "parameters" in run), "")
            first = [first[0], row["work"], parameters] if growth else [first[0], f"{first[1]} ({row['work']})"]
        timed = ["", "", ""]
        if seconds is not None:
            timed = [f"{seconds:.3g}", f"{60 / seconds:.3g}", f"{row['clients'] / seconds:.3g}"]
        why = dict.fromkeys(run.get("not_run") or run.get("cut") or "" for run in runs)
        body.append([
            *first, row["privacy"], row["guarantee"], *timed,
            f"{max(run['peak_mib'] for run in runs):.0f}", sum(len(run["seconds"]) for run in runs),
            f"{max(run['load'] for run in runs):.1f}", "; ".join(filter(None, why)),
        ])  # fmt: skip
    return table(header, body)


def _whole_runs(rows: list[Row]) -> list[str]:
    """Every round of a run, the first one too; inputs as in the tables above."""
    body = []
    for row in rows:
        for run in row["runs"]:
            seconds = [run["first"], *run["seconds"]]
            slowest = sorted(run["seconds"])[math.ceil(0.95 * len(run["seconds"])) - 1]
            body.append([
                f"{row['clients']:,}", row["work"], row["inputs"], row["privacy"], row["guarantee"], len(seconds),
                f"{math.fsum(seconds) / 60:.1f}", f"{statistics.median(run['seconds']):.3g}", f"{slowest:.3g}",
                f"{run['peak_mib']:.0f}",
            ])  # fmt: skip
    header = [
        "clients", "work", "inputs", "privacy", "guarantee", "rounds", "minutes", "s a round", "95 % below", "peak MiB",
    ]  # fmt: skip
    return table(header, body)


def _arithmetic(part: Part) -> list[str]:
    """Operations of a step, and the clients a second that they allow, beside the fastest of each framework."""
    body = []
    for counted in part["arithmetic"]:
        bound = counted["rate"] / counted["operations"]
        row = [
            counted["work"],
            counted["inputs"],
            counted["rank"],
            f"{counted['operations'] / 1e9:.3g}",
            f"{bound:.3g}",
        ]
        for names in (("pfl", "pfl-processes"), ("flower",), ("sotto", "sotto-workers")):
            speeds = [
                other["clients"] / seconds
                for other in part["rows"]
                if other["framework"] in names
                and all(other[key] == counted[key] for key in ("work", "inputs", "rank"))
                and (seconds := seconds_of(other))
            ]
            row.append(f"{100 * max(speeds) / bound:.0f} %" if speeds else "")
        body.append(row)
    rates = ", ".join(dict.fromkeys(f"{row['rate'] / 1e9:.0f}" for row in part["arithmetic"]))
    header = ["work", "inputs", "rank", "GFLOP a client", "clients/s at most", "pfl", "Flower", "Sotto"]
    return [
        f"Operations of a local step (matrix products, convolutions, attention, as PyTorch counts them), and how many "
        f"clients a second they allow at this machine's rate for a large float32 matrix product ({rates} GFLOP/s, as "
        "measured for each row); then the share of that which the fastest row of each framework reaches.",
        "",
        *table(header, body),
    ]


def _equal(part: Part) -> list[str]:
    body = []
    for row in part["equal_work"]:
        checks = row["checks"]
        body.append([
            row["work"], row["inputs"], _FRAMEWORKS[row["framework"]],
            "; ".join(f"{check['clients']} x {check['rounds']}" for check in checks),
            "; ".join(f"{check['difference']:.1e}" for check in checks),
            "; ".join(f"{check['moved']:.1e}" for check in checks),
            row.get("not_run") or ("yes" if row["equal"] else "NO: not measured"),
        ])  # fmt: skip
    header = ["work", "inputs", "framework", "clients x rounds", "difference", "adapter moved", "equal"]
    return [
        "Largest difference of an adapter's coordinate from plain PyTorch's after rounds without noise; equal: at most "
        f"{part['tolerance']:g}. Sotto's comes from its grid of 2^-20.",
        "",
        *table(header, body),
    ]
