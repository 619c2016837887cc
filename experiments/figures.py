"""What all figures share: how curves look and what they are called, limits of axes, notes, and the file.

Takes summaries; gives looks and words for matplotlib and for the HTML page, and writes PNG files. Colour is never the
only mark of a curve, and no figure is without its runs' warnings.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from textwrap import wrap
from typing import Any

from experiments.arms import Arm
from experiments.summary import extrapolates, warnings_and_notes
from fl_core.storage import write_atomically

__all__ = [
    "COLOURS",
    "DASHES",
    "accuracy_limits",
    "adapted_targets",
    "dash_of",
    "enlarged_limits",
    "footnote",
    "label",
    "legend_names",
    "look",
    "pyplot",
    "save_figure",
    "whole_rounds",
]

# Okabe and Ito's palette: distinguishable with every common colour blindness.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
DASHES = ("-", "--", "-.", ":")

FOOTNOTE_CHARACTERS_PER_INCH = 19  # of 7 points: a longer line would widen the figure


def look(number: int) -> tuple[str, str]:
    """Colour and dashes of a figure's curve `number`, from 0: no two alike of 32, after which they come again."""
    return COLOURS[number % len(COLOURS)], DASHES[dash_of(number, len(COLOURS), len(DASHES))]


def dash_of(number: int, colours: int, dashes: int) -> int:
    """Which of the dashes curve `number` has, if its colour is `number % colours`: no two alike of colours * dashes.

    `dashes` must divide `colours`: each turn through the colours then gives every colour other dashes than the last.
    """
    return (number + number // colours) % dashes


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


def legend_names(arms: Sequence[Arm]) -> dict[str, str]:
    """What each arm is called in a legend, by what differs; arms of one kind in one panel are told apart by names."""
    targets = len({tuple(adapted_targets(arm.summary)) for arm in arms}) > 1
    units = len({arm.summary["config"]["privacy"]["unit"] for arm in arms}) > 1
    kinds = [(label(arm.summary, targets, units), arm.clients) for arm in arms]
    return {
        arm.name: kind[0] if kinds.count(kind) == 1 else f"{kind[0]} [{arm.name}]"
        for arm, kind in zip(arms, kinds, strict=True)
    }


def accuracy_limits(values: Sequence[float]) -> tuple[float, float]:
    """Limits of an accuracy axis: all of it where much or nothing is used, else what was reached with a margin."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    if high > 0.5:
        return 0.0, 1.0
    margin = max(0.1 * (high - low), 0.002)
    return max(0.0, low - margin), high + margin


def enlarged_limits(best: float) -> tuple[float, float]:
    """The five points below the best accuracy, where curves end near the top of an axis that shows all of it."""
    return best - 0.05, best + 0.005


def whole_rounds(axes: Any) -> None:
    """Ticks of an axis of rounds, between which there is nothing."""
    axes.set_xlabel("round")
    axes.xaxis.get_major_locator().set_params(integer=True)


def footnote(figure: Any, summaries: Sequence[dict[str, Any]]) -> None:
    """All warnings and notes below a figure, each once, in lines no wider than the figure."""
    said = dict.fromkeys(text for summary in summaries for text in warnings_and_notes(summary))
    if said:
        width = int(FOOTNOTE_CHARACTERS_PER_INCH * figure.get_figwidth())
        lines = [line for text in said for line in wrap(text, width, subsequent_indent="   ")]
        figure.text(0.01, -0.02, "\n".join(lines), fontsize=7, va="top", ha="left")


def pyplot() -> Any:
    """matplotlib.pyplot without a display."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def save_figure(figure: Any, path: Path, dpi: int) -> None:
    """Write a figure as PNG and close it; the file is whole or as it was.

    Raises:
        StorageError: if it cannot be written.
    """
    drawn = BytesIO()
    figure.savefig(drawn, format="png", dpi=dpi, bbox_inches="tight")
    pyplot().close(figure)
    write_atomically(path, drawn.getvalue())
