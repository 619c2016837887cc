"""From measured cells of `bench.kernels_cpu` to one Markdown page."""

from __future__ import annotations

import statistics

from bench.markdown import measured, table
from bench.records import Part, Row

__all__ = ["cell_of_row", "page"]

_CELL = ("batch", "tokens", "rank", "targets")


def page(parts: dict[str, Part]) -> str:
    """One Markdown page of all parts."""
    makers = {"stage": _stage, "operations": _operations, "memory": _memory, "step": _step}
    lines: list[str] = ["# The private LoRA step", ""]
    for name, part in parts.items():
        if part["rows"]:
            lines += [*makers[name](part["rows"]), "", *measured(part["environment"]), ""]
    return "\n".join(lines)


def cell_of_row(row: Row) -> list[object]:
    """What says which cell a row is of."""
    return [row[key] for key in _CELL]


def _speedups(rows: list[Row], method: str) -> list[float]:
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
        factors = _speedups(rows, method)
        if factors:
            lines.append(
                f"{method}: Opacus hooks take {statistics.median(factors):.2f} times its time at the median of "
                f"{len(factors)} cells, {min(factors):.2f} at the least, {max(factors):.2f} at the most."
            )
    header = ["B", "T", "r", "targets", *(f"{n} ms" for n in names), "Opacus / sotto", "Opacus / integer"]
    body = []
    for row in rows:
        m = row["methods"]
        ratios = [f"{1 / m[n]['ratio']:.2f}" if "opacus hooks" in m else "" for n in ("sotto", "sotto integer")]
        body.append([*cell_of_row(row), *(f"{m[n]['seconds'] * 1e3:.2f}" for n in names), *ratios])
    return [*lines, "", *table(header, body)]


def _operations(rows: list[Row]) -> list[str]:
    names = list(rows[0]["methods"])
    header = ["r", "targets", *(f"{n}" for n in names)]
    body = [[row["rank"], row["targets"], *(_counted(row["methods"], n) for n in names)] for row in rows]
    return [
        "## Operations a step",
        "",
        "Calls that compute something (no views, no allocations), whole step with optimiser; in brackets: more than "
        "the non-private PEFT step with a plain loss. The chunked loss alone is `non-private fused`'s share.",
        "",
        *table(header, body),
    ]  # fmt: skip


def _counted(methods: Row, name: str) -> str:
    value = methods[name]
    if isinstance(value, str):
        return value
    return f"{value} ({value - methods['non-private plain loss']:+d})"


def _memory(rows: list[Row]) -> list[str]:
    header = ["B", "T", "r", "targets", "method", "before MiB", "peak MiB", "over non-private PEFT + Hugging Face loss"]
    body = []
    for row in rows:
        base = row["methods"].get("non-private", {}).get("peak")
        for name, m in row["methods"].items():
            figures = [f"{m['before']:.0f}", f"{m['peak']:.0f}"] if "peak" in m else ["", m["error"]]
            ratio = f"{m['peak'] / base:.2f}" if base and "peak" in m else ""
            body.append([*cell_of_row(row), name, *figures, ratio])
    return ["## Peak memory", "", "Resident memory of a process that makes two steps.", "", *table(header, body)]


def _step(rows: list[Row]) -> list[str]:
    header = ["B", "T", "r", "targets", "method", "seconds", "ratio", "CPU-time ratio", "least ratio", "rounds"]
    body = []
    for row in rows:
        for name, m in row["methods"].items():
            figures = [f"{m['seconds']:.3f}", *(f"{m[k]:.2f}" for k in ("ratio", "cpu_ratio", "least_ratio"))]
            body.append([*cell_of_row(row), name, *figures, m["rounds"]])
    return [
        "## Whole step",
        "",
        "Medians; ratios to the non-private PEFT step with Hugging Face's loss, of the same round (wall clock, then "
        "process time), and ratio of the least times.",
        "",
        *table(header, body),
    ]
