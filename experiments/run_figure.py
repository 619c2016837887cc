"""The figure of a run: accuracy by round, with the untuned accuracy as a line, and the epsilon spent below it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.figures import accuracy_limits, footnote, label, look, pyplot, save_figure, whole_rounds
from fl_core.privacy.views import VIEWS

__all__ = ["draw_run"]


def draw_run(rows: Sequence[dict[str, Any]], summary: dict[str, Any], path: Path) -> None:
    """Accuracy by round of one run, and the epsilon spent below it.

    Args:
        rows: metrics by round, row 0 untuned.
        summary: of the run.
        path: PNG file to write.

    Raises:
        StorageError: if it cannot be written.
    """
    figure, (upper, lower) = pyplot().subplots(2, 1, figsize=(7, 6), sharex=True, height_ratios=[2, 1])
    scored = [row for row in rows if "accuracy" in row]
    upper.plot([r["round"] for r in scored], [r["accuracy"] for r in scored], color=look(0)[0], label=label(summary))
    upper.axhline(summary["accuracy_before"], color="grey", linestyle=":", label="untuned")
    upper.set_ylabel("test accuracy")
    upper.set_ylim(*accuracy_limits([row["accuracy"] for row in scored]))
    upper.legend(loc="lower right")
    upper.set_title(f"{summary['source']}: accuracy by round")
    for index, view in enumerate(VIEWS):
        # Nothing is spent before the first opening, and zero has no place on a logarithmic axis.
        spent = [(r["round"], value) for r in rows if (value := r.get(f"epsilon_{view}", 0.0)) > 0]
        if spent:
            x, y = zip(*spent, strict=True)
            colour, dashes = look(index)
            lower.plot(x, y, color=colour, linestyle=dashes, label=view)
    whole_rounds(lower)
    lower.set_ylabel("epsilon spent")
    if lower.lines:
        lower.set_yscale("log")
        lower.legend(loc="lower right", title="view")
    else:
        why = "nothing was opened" if summary["privacy"]["openings"] == 0 else "no noise: no finite epsilon"
        lower.text(0.5, 0.5, why, transform=lower.transAxes, ha="center")
    footnote(figure, [summary])
    save_figure(figure, path, dpi=130)
