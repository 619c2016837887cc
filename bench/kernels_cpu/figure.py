"""The figure of `bench.kernels_cpu`: how much faster the isolated stage is, whole steps, memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.kernels_cpu.page import cell_of_row
from bench.records import Part, Row
from experiments.figures import pyplot

__all__ = ["draw"]


def draw(parts: dict[str, Part], path: Path) -> None:
    """Stage speed-ups by cell beside whole steps and memory."""
    plt = pyplot()
    figure = plt.figure(figsize=(13, 9), layout="constrained")
    axes = figure.subplot_mosaic([["stage", "stage"], ["step", "memory"]], width_ratios=[2, 1])
    _plot_stage(axes["stage"], parts["stage"]["rows"])
    _plot_ratios(axes["step"], parts["step"]["rows"], "Whole step, time over the non-private PEFT step's")
    memory = [
        row | {"methods": {n: {"ratio": m["peak"] / row["methods"]["non-private"]["peak"]} for n, m in good.items()}}
        for row in parts["memory"]["rows"]
        if (good := {n: m for n, m in row["methods"].items() if "peak" in m}) and "non-private" in good
    ]
    _plot_ratios(axes["memory"], memory, "Peak memory over the non-private step's")
    figure.legend(*axes["step"].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _plot_stage(axis: Any, rows: list[Row]) -> None:
    rows = [row for row in rows if "opacus hooks" in row["methods"]]
    for method, marker in (("sotto", "o"), ("sotto integer", "^")):
        axis.plot([1 / row["methods"][method]["ratio"] for row in rows], marker, label=method)
    axis.axhline(1, color="grey", linewidth=1)
    axis.set_xticks(range(len(rows)), [" ".join(map(str, cell_of_row(row))) for row in rows], rotation=90, fontsize=6)
    axis.set_yscale("log")
    axis.set_title("Isolated stage, times faster than Opacus hooks (B T r targets)")
    axis.legend()


def _plot_ratios(axis: Any, rows: list[Row], title: str) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row["methods"]))
    for index, name in enumerate(names):
        heights = [row["methods"].get(name, {}).get("ratio", float("nan")) for row in rows]
        axis.plot(heights, "osv^<>DPX*"[index % 10], label=name, color=f"C{index}", alpha=0.8)
    axis.axhline(1, color="grey", linewidth=1)
    axis.set_ylim(bottom=0)
    axis.set_xticks(range(len(rows)), [" ".join(map(str, cell_of_row(row))) for row in rows], rotation=60, fontsize=8)
    axis.set_title(title)
