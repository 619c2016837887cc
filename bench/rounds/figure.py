"""The figure of `bench.rounds`: clients a second by framework; a round's seconds by clients, parameters and parties."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.records import Part, Row
from bench.rounds.cells import RANKS
from bench.rounds.page import WORKS, ordinary, seconds_of
from experiments.figures import COLOURS, DASHES, pyplot

__all__ = ["draw"]


def draw(part: Part, path: Path) -> None:
    """Clients a second by framework; seconds of a round by clients, by parameters and by parties."""
    plt = pyplot()
    rows = [row for row in part["rows"] if seconds_of(row) is not None]
    main = [row for row in rows if row["inputs"] == "raw" and ordinary(row)]
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


def _parameters(row: Row) -> float:
    return float(next(run["parameters"] for run in row["runs"] if "parameters" in run))


def _bars(axis: Any, rows: list[Row]) -> None:
    """Of each work, the size at which the most rows were measured, the larger of two."""
    labels, heights, colours = [], [], []
    names = list(dict.fromkeys(map(_series, rows)))
    for work in WORKS:
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
