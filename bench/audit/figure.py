"""The figure of `bench.audit`: every bound against its claim."""

from __future__ import annotations

from pathlib import Path

from bench.records import Row
from experiments.figures import COLOURS, pyplot

__all__ = ["draw"]

_MARKS = {"honest": "o", "real parties": "s", "two rounds": "^", "planted": "X"}
_LABELS = {
    "honest": "as it is, one round",
    "real parties": "as it is, one round, real parties",
    "two rounds": "as it is, two rounds",
    "planted": "with a planted fault",
}


def draw(rows: list[Row], path: Path) -> None:
    """Every bound against its claim; a fault shows above the line."""
    plt = pyplot()
    figure, axes = plt.subplots(figsize=(7, 6), layout="constrained")
    claims = [row["claimed"] for row in rows]
    low, high = 0.9 * min(claims), 1.05 * max(claims)
    axes.plot([low, high], [low, high], color="grey", linestyle=":", label="bound = claim")
    for index, (kind, mark) in enumerate(_MARKS.items()):
        points = [(row["claimed"], bound) for row in rows if row["kind"] == kind for bound in row["bounds"]]
        if points:
            claimed, bounds = zip(*points, strict=True)
            colour = COLOURS[5] if kind == "planted" else COLOURS[index]
            axes.plot(claimed, bounds, mark, color=colour, alpha=0.5, label=_LABELS[kind])
    axes.set_xlim(low, high)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("claimed epsilon, by the ledger")
    axes.set_ylabel("audit's lower bound on epsilon")
    axes.set_title("Privacy audit: what an attacker finds against what is claimed")
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=110)
    plt.close(figure)
