"""From measured cells of `bench.rounds` to a Markdown page and a figure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.markdown import measured, table
from bench.records import Part, Row
from bench.rounds.cells import RANKS
from experiments.figures import COLOURS, DASHES, pyplot

__all__ = ["rounds_page", "rounds_plot", "seconds_of"]

_FRAMEWORKS = {
    "pfl": "pfl, one process",
    "pfl-processes": "pfl, a process a core",
    "flower": "Flower, an actor a core",
    "sotto": "Sotto, one process",
    "sotto-workers": "Sotto, a worker a core",
}
_WORKS = {"mnist": "MNIST, 6 images a client", "next_word": "Next word, 16 sequences of 20 tokens a client"}


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
    for work, words in _WORKS.items():
        chosen = [row for row in part["rows"] if row["work"] == work]
        main = [row for row in chosen if row["inputs"] == "raw" and _ordinary(row)]
        if main:
            lines += [f"## {words}", "", *_rows_table(main), ""]
    stored = [row for row in part["rows"] if row["inputs"] == "stored" and _ordinary(row)]
    if stored:
        lines += ["## With the frozen layers' results stored", ""]
        lines += [
            "As `engine.keep_features` (Sotto's default), for all frameworks alike.",
            "",
            *_rows_table(stored),
            "",
        ]
    grown = [row for row in part["rows"] if not _ordinary(row) and not row.get("whole")]
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


def _ordinary(row: Row) -> bool:
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


def _series(row: Row) -> str:
    """What a bar or a curve is called."""
    name = {
        "pfl": "pfl",
        "pfl-processes": "pfl x cores",
        "flower": "Flower",
        "sotto": "Sotto",
        "sotto-workers": "Sotto x cores",
    }[row["framework"]]
    privacy = {"none": "no privacy", "central": "central", "distributed": "distributed"}[row["privacy"]]
    return f"{name}, {privacy}" + (f", {row['parties']} parties" if row["parties"] else "")


def rounds_plot(part: Part, path: Path) -> None:
    """Clients a second by framework; seconds of a round by clients, by parameters and by parties."""
    plt = pyplot()
    rows = [row for row in part["rows"] if seconds_of(row) is not None]
    main = [row for row in rows if row["inputs"] == "raw" and _ordinary(row)]
    figure, axes = plt.subplots(2, 2, figsize=(13, 10), layout="constrained")
    _bars(axes[0][0], main)
    extremes = [row for row in main if row["privacy"] == "none" or row["parties"]]
    _curves(axes[0][1], extremes, lambda row: row["clients"], lambda row: f"{row['work']}: {_series(row)}", "clients")
    ranked = [row for row in rows if row["inputs"] == "raw" and row["framework"].startswith("sotto")]
    several = {(row["work"], row["clients"]) for row in ranked if row["rank"] != RANKS[row["work"]]}
    by_rank = [row for row in ranked if (row["work"], row["clients"]) in several and row["parties"] in (0, 3)]
    by_rank = [row for row in by_rank if row["privacy"] == "none" or row["parties"]]
    _curves(
        axes[1][0],
        by_rank,
        _parameters,
        lambda row: f"{row['work']} x {row['clients']:,}: {_series(row)}",
        "parameters",
    )
    several = {(row["work"], row["clients"]) for row in ranked if row["parties"] not in (0, 3)}
    by_parties = [row for row in ranked if (row["work"], row["clients"]) in several and row["parties"]]
    by_parties = [row for row in by_parties if row["rank"] == RANKS[row["work"]]]

    def who(row: Row) -> str:
        return f"{row['work']} x {row['clients']:,}: {_series(row).partition(',')[0]}"

    _curves(axes[1][1], by_parties, lambda row: row["parties"], who, "parties", logarithmic=False)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _parameters(row: Row) -> float:
    return float(next(run["parameters"] for run in row["runs"] if "parameters" in run))


def _bars(axis: Any, rows: list[Row]) -> None:
    """Of each work, the size at which the most rows were measured, the larger of two."""
    labels, heights, colours = [], [], []
    names = list(dict.fromkeys(map(_series, rows)))
    for work in _WORKS:
        sizes = [row["clients"] for row in rows if row["work"] == work]
        if not sizes:
            continue
        size = max(set(sizes), key=lambda clients: (sizes.count(clients), clients))
        for row in rows:
            if row["work"] == work and row["clients"] == size:
                labels.append(f"{work} x {size:,}: {_series(row)}")
                heights.append(size / (seconds_of(row) or 1.0))
                colours.append(COLOURS[names.index(_series(row)) % len(COLOURS)])
    places = range(len(labels))
    axis.barh(places, heights, color=colours)
    axis.set_yticks(places, labels, fontsize=7)
    axis.invert_yaxis()
    if heights:
        axis.set_xscale("log")
        axis.bar_label(axis.containers[0], fmt="%.3g", fontsize=7, padding=2)
        axis.set_xlim(10 ** math.floor(math.log10(min(heights))), 2 * max(heights))
    axis.set_xlabel("clients a second")


def _curves(
    axis: Any,
    rows: list[Row],
    x: Callable[[Row], float],
    name: Callable[[Row], str],
    what: str,
    logarithmic: bool = True,
) -> None:
    """A curve a name; colour is never its only mark."""
    points: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        points.setdefault(name(row), []).append((x(row), seconds_of(row) or 0.0))
    for index, (label, curve) in enumerate(points.items()):
        colour, dash = COLOURS[index % len(COLOURS)], DASHES[index // len(COLOURS) % len(DASHES)]
        axis.plot(*zip(*sorted(curve), strict=True), dash, marker="os^Dv*"[index % 6], color=colour, label=label)
    axis.set_xlabel(what)
    axis.set_ylabel("seconds a round")
    if points:
        axis.set_yscale("log")
        axis.set_xscale("log" if logarithmic else "linear")
        axis.legend(fontsize=6)
