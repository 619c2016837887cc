"""The figure of `bench.membership`: members found against false alarms, a line an arm, on logarithmic axes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bench.membership.page import label
from bench.membership.rows import FPR
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
    for axes, (unit, attack, title) in zip(panels[0], present, strict=True):
        rows = {name: row for name, row in part["rows"].items() if row["unit"] == unit}
        axes.plot(FPR, FPR, color="grey", linewidth=1, label="guessing")
        colours = dict(zip(rows, COLOURS, strict=False))  # in both panels the same for the same kind of arm
        for name, row in rows.items():
            if row["epsilon"] is None:
                continue
            claim, colour = f"ε = {row['epsilon']:g}", colours[name]
            # Hardly to be seen for a large epsilon, which forbids next to nothing by itself.
            forbidden = f"forbidden by {claim} alone"
            axes.fill_between(FPR, row["allowed"], 1, color=colour, alpha=0.13, linewidth=0, label=forbidden)
            most = f"most that the ledger of {claim} allows"
            axes.plot(FPR, row["allowed_by_ledger"], color=colour, linestyle=":", linewidth=1.2, label=most)
        for index, (name, row) in enumerate(rows.items()):
            found = row["attacks"][attack]
            curve = np.array(found["tpr_curve"])
            # Below one false alarm among all others a curve shows who came first, not a rate; no axis has a zero.
            seen = (FPR * found["others"] >= 1) & (curve > 0)
            shown = f"{label(name, row)}: AUC {found['auc']:.3f}"
            axes.plot(
                FPR[seen], curve[seen], color=colours[name], linestyle=DASHES[index % 3], linewidth=1.8, label=shown
            )
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
