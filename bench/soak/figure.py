"""The figure of `bench.soak`: memory, descriptors and threads over time, from curves that are kept in its rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.records import Row
from bench.soak.page import SOAKS
from bench.soak.samples import Sample
from experiments.figures import pyplot

__all__ = ["curves_of", "draw"]

_POINTS = 240  # of a curve


def curves_of(samples: Sequence[Sample]) -> dict[str, dict[str, list[float]]]:
    """What is drawn, by process: seconds, rounds, private MiB, descriptors, threads; evenly thinned."""
    curves: dict[str, dict[str, list[float]]] = {}
    for who in dict.fromkeys(sample.who for sample in samples):
        own = [sample for sample in samples if sample.who == who]
        kept = own[:: max(1, len(own) // _POINTS)]
        curves[who] = {
            "seconds": [round(s.seconds, 1) for s in kept],
            "round": [s.round for s in kept],
            "uss_mib": [round(s.uss / 2**20, 2) for s in kept],
            "descriptors": [s.descriptors for s in kept],
            "threads": [s.threads for s in kept],
        }
    return curves


def draw(rows: dict[str, Row], path: Path) -> None:
    """Private memory, descriptors and threads of every process over time, a column for each kind."""
    rows = {kind: row for kind, row in rows.items() if row.get("curves")}
    if not rows:
        return
    plt = pyplot()
    figure, axes = plt.subplots(
        3, len(rows), figsize=(5 * len(rows), 8), sharex="col", squeeze=False, layout="constrained"
    )
    for column, (kind, row) in enumerate(rows.items()):
        axes[0][column].set_title(SOAKS[kind], fontsize=9)
        for who, curve in row["curves"].items():
            for line, (name, label) in enumerate(
                (("uss_mib", "private memory, MiB"), ("descriptors", "descriptors"), ("threads", "threads"))
            ):
                axes[line][column].plot(curve["seconds"], curve[name], label=who, linewidth=1)
                axes[line][column].set_ylabel(label)
                axes[line][column].set_ylim(bottom=0)
        axes[2][column].set_xlabel("seconds")
        axes[0][column].legend(fontsize=7)
    figure.savefig(path, dpi=110)
    plt.close(figure)
