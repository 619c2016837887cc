"""From measured rows to what people look at: a Markdown table and a plot for each part of the kernel benchmark."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

__all__ = ["gpu_page", "load", "page", "plot", "store"]

Row = dict[str, Any]
_CELL = ("batch", "tokens", "rank", "targets")


def load(path: Path) -> dict[str, Any]:
    """A part's file, or an empty one."""
    return json.loads(path.read_text()) if path.exists() else {"environment": [], "rows": []}


def store(path: Path, part: dict[str, Any]) -> None:
    """Write a part's file so that an interruption leaves the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(part, indent=1) + "\n")
    draft.replace(path)


def page(parts: dict[str, dict[str, Any]]) -> str:
    """One Markdown page of all parts."""
    makers = {"stage": _stage, "operations": _operations, "memory": _memory, "step": _step}
    lines: list[str] = ["# The private LoRA step", ""]
    for name, part in parts.items():
        if part["rows"]:
            lines += [*makers[name](part["rows"]), "", *(f"Measured: {e}." for e in part["environment"]), ""]
    return "\n".join(lines)


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    return [
        "| " + " | ".join(header) + " |",
        "|" + "---|" * len(header),
        *("| " + " | ".join(map(str, row)) + " |" for row in rows),
    ]


def _cell(row: Row) -> list[object]:
    return [row[key] for key in _CELL]


def speedups(rows: list[Row], method: str) -> list[float]:
    """Opacus hooks' time over a method's, a number per cell."""
    return [1 / row["methods"][method]["ratio"] for row in rows if "opacus hooks" in row["methods"]]


def _stage(rows: list[Row]) -> list[str]:
    names = list(rows[0]["methods"])
    lines = [
        "## Isolated stage",
        "",
        "From what the layers saw to the noisy mean (integer: to the integer sum), milliseconds; ratios are medians of "
        "ratios to Opacus' hooks in the same round.",
        "",
    ]
    for method in ("sotto", "sotto integer"):
        factors = speedups(rows, method)
        if factors:
            lines.append(
                f"{method}: Opacus hooks take {statistics.median(factors):.2f} times its time at the median of "
                f"{len(factors)} cells, {min(factors):.2f} at the least, {max(factors):.2f} at the most."
            )
    header = ["B", "T", "r", "targets", *(f"{n} ms" for n in names), "Opacus / sotto", "Opacus / integer"]
    table = []
    for row in rows:
        m = row["methods"]
        ratios = [f"{1 / m[n]['ratio']:.2f}" if "opacus hooks" in m else "" for n in ("sotto", "sotto integer")]
        table.append([*_cell(row), *(f"{m[n]['seconds'] * 1e3:.2f}" for n in names), *ratios])
    return [*lines, "", *_table(header, table)]


def _operations(rows: list[Row]) -> list[str]:
    names = list(rows[0]["methods"])
    header = ["r", "targets", *(f"{n}" for n in names)]
    table = [[row["rank"], row["targets"], *(_counted(row["methods"], n) for n in names)] for row in rows]
    return [
        "## Operations a step",
        "",
        "Calls that compute something (no views, no allocations), whole step with optimiser; in brackets: more than "
        "the non-private PEFT step with a plain loss. The chunked loss alone is `non-private fused`'s share.",
        "",
        *_table(header, table),
    ]  # fmt: skip


def _counted(methods: Row, name: str) -> str:
    value = methods[name]
    if isinstance(value, str):
        return value
    return f"{value} ({value - methods['non-private plain loss']:+d})"


def _memory(rows: list[Row]) -> list[str]:
    header = ["B", "T", "r", "targets", "method", "before MiB", "peak MiB", "over non-private PEFT + Hugging Face loss"]
    table = []
    for row in rows:
        base = row["methods"].get("non-private", {}).get("peak")
        for name, m in row["methods"].items():
            figures = [f"{m['before']:.0f}", f"{m['peak']:.0f}"] if "peak" in m else ["", m["error"]]
            ratio = f"{m['peak'] / base:.2f}" if base and "peak" in m else ""
            table.append([*_cell(row), name, *figures, ratio])
    return ["## Peak memory", "", "Resident memory of a process that makes two steps.", "", *_table(header, table)]


def _step(rows: list[Row]) -> list[str]:
    header = ["B", "T", "r", "targets", "method", "seconds", "ratio", "CPU-time ratio", "least ratio", "rounds"]
    table = []
    for row in rows:
        for name, m in row["methods"].items():
            figures = [f"{m['seconds']:.3f}", *(f"{m[k]:.2f}" for k in ("ratio", "cpu_ratio", "least_ratio"))]
            table.append([*_cell(row), name, *figures, m["rounds"]])
    return [
        "## Whole step",
        "",
        "Medians; ratios to the non-private PEFT step with Hugging Face's loss, of the same round (wall clock, then "
        "process time), and ratio of the least times.",
        "",
        *_table(header, table),
    ]


def gpu_page(report: dict[str, Any]) -> str:
    """One Markdown page of what `bench.gpu` found."""
    lines = ["# On a GPU", "", f"{report['environment']}", ""]
    for name, seconds in report["seconds"].items():
        rows = report[name]
        lines += [f"## {name} ({seconds:.0f} s)", ""]
        if isinstance(rows, dict):
            lines += [f"    {json.dumps(rows)}", ""]
        elif rows:
            flat = [_flattened(row) for row in rows]
            header = list(dict.fromkeys(key for row in flat for key in row))
            lines += [*_table(header, [[row.get(key, "") for key in header] for row in flat]), ""]
    return "\n".join(lines)


def _flattened(row: Row) -> dict[str, str]:
    """A row with its methods' most telling figures as columns: seconds and ratio, or counts and memory."""
    result = {key: f"{value:.4g}" if isinstance(value, float) else str(value) for key, value in row.items()}
    for name, figures in (row.get("methods") or {}).items():
        shown = ("seconds", "ratio") if "seconds" in figures else tuple(figures)
        result[name] = " / ".join(f"{figures[key]:.4g}" for key in shown)
    result.pop("methods", None)
    return result


def plot(parts: dict[str, dict[str, Any]], path: Path) -> None:
    """Stage speed-ups by cell beside whole steps and memory."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

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
    axis.set_xticks(range(len(rows)), [" ".join(map(str, _cell(row))) for row in rows], rotation=90, fontsize=6)
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
    axis.set_xticks(range(len(rows)), [" ".join(map(str, _cell(row))) for row in rows], rotation=60, fontsize=8)
    axis.set_title(title)
