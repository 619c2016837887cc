"""The figure of a run: accuracy by round, with the untuned accuracy as a line; and what all figures share.

Takes metrics rows and summaries; writes PNG files. Colour is never the only mark of a curve.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from textwrap import wrap
from typing import Any

from experiments.summary import extrapolates
from fl_core.storage import write_atomically

__all__ = ["COLOURS", "DASHES", "accuracy_limits", "adapted_targets", "draw_run", "footnote", "label", "pyplot"]

# Okabe and Ito's palette: distinguishable with every common colour blindness.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
DASHES = ("-", "--", "-.", ":")

FOOTNOTE_CHARACTERS_PER_INCH = 19  # of 7 points: a longer line would widen the figure


def draw_run(rows: Sequence[dict[str, Any]], summary: dict[str, Any], path: Path) -> None:
    """Accuracy by round of one run, and the epsilon spent below it; the file is whole or as it was."""
    plt = pyplot()
    figure, (upper, lower) = plt.subplots(2, 1, figsize=(7, 6), sharex=True, height_ratios=[2, 1])
    scored = [row for row in rows if "accuracy" in row]
    upper.plot([r["round"] for r in scored], [r["accuracy"] for r in scored], color=COLOURS[0], label=label(summary))
    upper.axhline(summary["accuracy_before"], color="grey", linestyle=":", label="untuned")
    upper.set_ylabel("test accuracy")
    upper.set_ylim(*accuracy_limits([row["accuracy"] for row in scored]))
    upper.legend(loc="lower right")
    upper.set_title(f"{summary['source']}: accuracy by round")
    for index, view in enumerate(("release", "aggregators", "local")):
        spent = [(r["round"], r[f"epsilon_{view}"]) for r in rows if f"epsilon_{view}" in r]
        if spent:
            x, y = zip(*spent, strict=True)
            lower.plot(x, y, color=COLOURS[index], linestyle=DASHES[index], label=view)
    lower.set_xlabel("round")
    lower.set_ylabel("epsilon spent")
    if lower.lines:
        if any(value > 0 for line in lower.lines for value in line.get_ydata()):
            lower.set_yscale("log")
        lower.legend(loc="lower right", title="view")
    else:
        lower.text(0.5, 0.5, "no noise: no finite epsilon", transform=lower.transAxes, ha="center")
    footnote(figure, [summary])
    drawn = BytesIO()
    figure.savefig(drawn, format="png", dpi=130, bbox_inches="tight")
    plt.close(figure)
    write_atomically(path, drawn.getvalue())


def adapted_targets(summary: dict[str, Any]) -> list[str]:
    """Names of the layers with an adapter; older summaries have those of the configuration only."""
    targets: list[str] = summary.get("targets") or summary["config"]["lora"]["targets"]
    return targets


def label(summary: dict[str, Any], targets: bool = True, unit: bool = False) -> str:
    """Short name of a run for a legend, with or without the layers that have an adapter and the protected unit."""
    privacy = summary["config"]["privacy"]
    adapted = "+".join(adapted_targets(summary)) + ", " if targets else ""
    if unit:
        adapted += f"{privacy['unit']} level, "
    if privacy["trust"] == "none":
        return f"{adapted}no privacy"
    epsilon = privacy["epsilon"]
    size = f"epsilon {epsilon:g}" if epsilon is not None else f"z {privacy['noise_multiplier']:g}"
    cohort = extrapolates(summary)
    if cohort is not None:
        size += f" extrapolated to {cohort:,} clients"
    if privacy.get("clipping") == "adaptive":
        size += ", adaptive clipping"
    if summary["config"].get("simulation", {}).get("noise") == "aggregate":
        size += " (simulation: sum noise drawn once)"
    return f"{adapted}{privacy['trust']}, {size}"


def accuracy_limits(values: Sequence[float]) -> tuple[float, float]:
    """Limits of an accuracy axis: all of it where much of it is used, else what was reached with a margin."""
    low, high = min(values), max(values)
    if high > 0.5:
        return 0.0, 1.0
    margin = max(0.1 * (high - low), 0.002)
    return max(0.0, low - margin), high + margin


def footnote(figure: Any, summaries: Sequence[dict[str, Any]]) -> None:
    """All warnings and notes below a figure, each once, in lines no wider than the figure."""
    warnings: dict[str, None] = {}
    for summary in summaries:
        for text in [*summary["privacy"]["warnings"], *summary["notes"]]:
            warnings[text] = None
    if warnings:
        width = int(FOOTNOTE_CHARACTERS_PER_INCH * figure.get_figwidth())
        lines = [line for text in warnings for line in wrap(text, width, subsequent_indent="   ")]
        figure.text(0.01, -0.02, "\n".join(lines), fontsize=7, va="top", ha="left")


def pyplot() -> Any:
    """matplotlib.pyplot without a display."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    return plt
