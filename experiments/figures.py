"""Figures of runs: accuracy by round, with the untuned accuracy as a line.

Takes metrics rows and summaries; writes PNG files. Colour is never the only mark of a curve.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["draw_comparison", "draw_run"]

# Okabe and Ito's palette: distinguishable with every common colour blindness.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
_DASHES = ("-", "--", "-.", ":")


def draw_run(rows: Sequence[dict[str, Any]], summary: dict[str, Any], path: Path) -> None:
    """Accuracy by round of one run, and the epsilon spent below it."""
    plt = _pyplot()
    figure, (upper, lower) = plt.subplots(2, 1, figsize=(7, 6), sharex=True, height_ratios=[2, 1])
    scored = [row for row in rows if "accuracy" in row]
    upper.plot([r["round"] for r in scored], [r["accuracy"] for r in scored], color=_COLOURS[0], label=label(summary))
    upper.axhline(summary["accuracy_before"], color="grey", linestyle=":", label="untuned")
    upper.set_ylabel("test accuracy")
    upper.set_ylim(0, 1)
    upper.legend(loc="lower right")
    upper.set_title(f"{summary['source']}: accuracy by round")
    for index, view in enumerate(("release", "aggregators", "local")):
        spent = [(r["round"], r[f"epsilon_{view}"]) for r in rows if f"epsilon_{view}" in r]
        if spent:
            x, y = zip(*spent, strict=True)
            lower.plot(x, y, color=_COLOURS[index], linestyle=_DASHES[index], label=view)
    lower.set_xlabel("round")
    lower.set_ylabel("epsilon spent")
    if lower.lines:
        lower.set_yscale("log")
        lower.legend(loc="lower right", title="view")
    else:
        lower.text(0.5, 0.5, "no noise: no finite epsilon", transform=lower.transAxes, ha="center")
    _footnote(figure, [summary])
    figure.savefig(path, dpi=130, bbox_inches="tight")
    plt.close(figure)


def draw_comparison(
    runs: Sequence[tuple[str, Sequence[dict[str, Any]], dict[str, Any]]], title: str, path: Path
) -> None:
    """Accuracy by round of several runs, one column per number of clients; below, the best five points enlarged.

    Args:
        runs: (name, metrics rows, summary) of each run.
        title: figure title.
        path: PNG file to write.
    """
    plt = _pyplot()
    counts = sorted({summary["config"]["federation"]["clients"] for _, _, summary in runs})
    looks = _looks(runs)
    order = list(dict.fromkeys(looks.values()))
    best = max(summary["accuracy_after"] for _, _, summary in runs)
    figure, panels = plt.subplots(
        2, len(counts), figsize=(6.5 * len(counts), 8.5), sharex=True, sharey="row", squeeze=False
    )
    for column, clients in enumerate(counts):
        chosen = [run for run in runs if run[2]["config"]["federation"]["clients"] == clients]
        for panel in panels[:, column]:
            for name, rows, summary in chosen:
                scored = [row for row in rows if "accuracy" in row]
                index = order.index(looks[name])  # one look per kind of run, the same in every column
                panel.plot(
                    [row["round"] for row in scored],
                    [row["accuracy"] for row in scored],
                    color=_COLOURS[index % len(_COLOURS)],
                    linestyle=_DASHES[index % len(_DASHES)],
                    linewidth=1.3,
                    label=f"{looks[name]}: {summary['accuracy_after']:.3f}",
                )
            panel.grid(alpha=0.3)
        untuned = chosen[0][2]["accuracy_before"]
        panels[0][column].axhline(untuned, color="grey", linestyle=":", label=f"untuned: {untuned:.3f}")
        joint = any(summary["config"]["simulation"]["noise"] == "aggregate" for _, _, summary in chosen)
        panels[0][column].set_title(f"{clients:,} clients" + (" (simulation: sum noise drawn once)" if joint else ""))
        panels[0][column].legend(loc="lower right", fontsize=8)
        panels[1][column].set_xlabel("round")
    panels[0][0].set_ylabel("test accuracy")
    panels[0][0].set_ylim(0, 1)
    panels[1][0].set_ylabel("test accuracy, enlarged")
    panels[1][0].set_ylim(best - 0.05, best + 0.005)
    figure.suptitle(title)
    figure.tight_layout()
    _footnote(figure, [summary for _, _, summary in runs])
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)


def _looks(runs: Sequence[tuple[str, Sequence[dict[str, Any]], dict[str, Any]]]) -> dict[str, str]:
    """What each run is called in a legend; runs of one kind in one panel are told apart by their names."""
    kinds = [(label(summary), summary["config"]["federation"]["clients"]) for _, _, summary in runs]
    return {
        name: kind[0] if kinds.count(kind) == 1 else f"{kind[0]} [{name}]"
        for (name, _, _), kind in zip(runs, kinds, strict=True)
    }


def label(summary: dict[str, Any]) -> str:
    """Short name of a run for a legend."""
    privacy = summary["config"]["privacy"]
    targets = "+".join(summary["config"]["lora"]["targets"])
    if privacy["trust"] == "none":
        return f"{targets}, no privacy"
    epsilon = privacy["epsilon"]
    size = f"epsilon {epsilon:g}" if epsilon is not None else f"z {privacy['noise_multiplier']:g}"
    return f"{targets}, {privacy['trust']}, {size}"


def _footnote(figure: Any, summaries: Sequence[dict[str, Any]]) -> None:
    warnings: dict[str, None] = {}
    for summary in summaries:
        for text in [*summary["privacy"]["warnings"], *summary["notes"]]:
            warnings[text] = None
    if warnings:
        figure.text(0.01, -0.02, "\n".join(warnings), fontsize=7, va="top", ha="left")


def _pyplot() -> Any:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    return plt
