"""The figure of `bench.membership`: members found against false alarms, a line an arm, on logarithmic axes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bench.membership_rows import FPR
from bench.membership_tables import LABELS, label
from experiments.figures import COLOURS, DASHES, pyplot

__all__ = ["draw"]

_LEAST = 3e-4  # of both axes
_PANELS = (
    ("example", "calibrated", "Was this sequence trained on?\n(coins and protection by sequence)"),
    ("client", "user calibrated", "Did this user take part?\n(coins and protection by user)"),
)


def draw(part: dict[str, Any], path: Path) -> None:
    """A panel for each protected unit; shaded is what a claimed epsilon forbids, dotted lines are its ledger's bound.

    Args:
        part: what `bench.membership` stores.
        path: PNG file to write.
    """
    plt = pyplot()
    present = [panel for panel in _PANELS if any(row["unit"] == panel[0] for row in part["rows"].values())]
    figure, panels = plt.subplots(1, len(present), figsize=(6.2 * len(present), 6.0), squeeze=False, sharey=True)
    names = list(LABELS)
    for axes, (unit, attack, title) in zip(panels[0], present, strict=True):
        rows = {name: row for name, row in part["rows"].items() if row["unit"] == unit}
        axes.plot(FPR, FPR, color="grey", linewidth=1, label="guessing")
        claims = sorted((row["epsilon"], name) for name, row in rows.items() if row["epsilon"] is not None)
        for epsilon, name in claims:
            colour = COLOURS[names.index(name) % len(COLOURS)] if name in names else "black"
            axes.fill_between(
                FPR,
                rows[name]["allowed"],
                1,
                color=colour,
                alpha=0.13,
                linewidth=0,
                label=f"forbidden by ε = {epsilon:g}",
            )
            bound = rows[name]["allowed_by_ledger"]
            axes.plot(
                FPR,
                bound,
                color=colour,
                linestyle=":",
                linewidth=1.2,
                label=f"most that its ledger allows, ε = {epsilon:g}",
            )
        for index, (name, row) in enumerate(rows.items()):
            found = row["attacks"][attack]
            curve = np.array(found["tpr_curve"])
            # Below one false alarm among all others a curve shows who came first, not a rate.
            seen = 1 / found["others"] <= FPR
            colour = COLOURS[names.index(name) % len(COLOURS)] if name in names else COLOURS[index]
            shown = f"{label(name, row)}: AUC {found['auc']:.2f}"
            axes.plot(FPR[seen], curve[seen], color=colour, linestyle=DASHES[index % 3], linewidth=1.8, label=shown)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(_LEAST, 1)
        axes.set_ylim(_LEAST, 1.05)
        axes.set_xlabel("false alarms: share of non-members called members")
        axes.set_title(title, fontsize=11)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7.5, loc="lower right")
    panels[0][0].set_ylabel("members found")
    figure.suptitle("Membership inference: loss of the tuned model against loss of the public base")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
