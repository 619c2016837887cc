"""Figures over several arms: accuracy by round, and accuracy by epsilon and trust.

Takes arms; writes PNG files. Repetitions are a mean with the band between the least and the most, and the untuned base
is a line in every panel.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.arms import PRIVATE_TRUSTS, Arm, by_clients, trust_arms, trust_points
from experiments.figures import (
    accuracy_limits,
    enlarged_limits,
    footnote,
    legend_names,
    look,
    pyplot,
    save_figure,
    whole_rounds,
)
from experiments.formatting import percent

__all__ = ["draw_comparison", "draw_trust"]

# Characters of the longest legend entry that still has room for another beside it.
_ABREAST = 55
_MARKERS = dict(zip(PRIVATE_TRUSTS, "sov", strict=True))


def draw_comparison(arms: Sequence[Arm], title: str, path: Path) -> None:
    """Accuracy by round, one column per number of clients; below, the best five points enlarged where all is high.

    Args:
        arms: settings with their runs.
        title: figure title.
        path: PNG file to write.
    """
    plt = pyplot()
    columns, names = by_clients(arms), legend_names(arms)
    abreast = 2 if max(map(len, names.values())) <= _ABREAST else 1  # legend entries
    below = 0.3 * max(len(chosen) for chosen in columns.values()) / abreast  # inches
    order = list(dict.fromkeys(names.values()))
    best = max(arm.mean("accuracy_after") for arm in arms)
    reached = [row["accuracy"] for arm in arms for _, rows, _ in arm.runs for row in rows if "accuracy" in row]
    limits = accuracy_limits(reached)
    parts = any(arm.untuned_level != arm.mean("accuracy_before") for arm in arms)
    bands = [limits, enlarged_limits(best)] if limits == (0.0, 1.0) else [limits]
    figure, panels = plt.subplots(
        len(bands),
        len(columns),
        figsize=(6.5 * len(columns), 4.0 * len(bands) + 0.5 + below),
        sharex=True,
        sharey="row",
        squeeze=False,
    )
    for column, (clients, chosen) in enumerate(columns.items()):
        for panel in panels[:, column]:
            for arm in chosen:
                index = order.index(names[arm.name])  # one look per kind of run, the same in every column
                _curve(panel, arm, index, f"{names[arm.name]}: {percent(arm.mean('accuracy_after'))}")
            panel.grid(alpha=0.3)
            untuned = f"untuned base: {percent(chosen[0].mean('accuracy_before'))}"
            panel.axhline(chosen[0].untuned_level, color="grey", linestyle=":", label=untuned)
        panels[0][column].set_title(f"{clients:,} clients")
        whole_rounds(panels[-1][column])
        # Below the curves: they may run anywhere.
        panels[-1][column].legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=abreast, fontsize=7)
    for row, band in enumerate(bands):
        what = "test accuracy" + (" on a part; legend: on all test data" if parts else "")
        panels[row][0].set_ylabel(what if row == 0 else f"{what}, enlarged")
        panels[row][0].set_ylim(*band)
    _finish(figure, title, arms, path)


def draw_trust(arms: Sequence[Arm], title: str, path: Path) -> None:
    """Accuracy after the last round by epsilon, a mark per trust model, one column per number of clients.

    The untuned base and the run without privacy are lines; bars are the standard deviation between runs.

    Args:
        arms: settings with their runs, of which `trust_arms` must leave some.
        title: figure title.
        path: PNG file to write.
    """
    plt = pyplot()
    columns = by_clients(trust_arms(arms))
    figure, panels = plt.subplots(1, len(columns), figsize=(5.5 * len(columns), 4.5), sharey=True, squeeze=False)
    for panel, (clients, chosen) in zip(panels[0], columns.items(), strict=True):
        for index, trust in enumerate(PRIVATE_TRUSTS):
            points = trust_points(chosen, trust)
            if points:
                epsilons, accuracies, deviations = zip(*points, strict=True)
                colour, dashes = look(index)
                panel.errorbar(
                    epsilons,
                    accuracies,
                    yerr=deviations,
                    color=colour,
                    marker=_MARKERS[trust],
                    linestyle=dashes,
                    capsize=3,
                    label=trust,
                )
        for arm in arms:
            if arm.clients == clients and arm.trust == "none":
                panel.axhline(arm.mean("accuracy_after"), color="black", linewidth=1, label="no privacy")
        untuned = chosen[0].mean("accuracy_before")
        panel.axhline(untuned, color="grey", linestyle=":", label=f"untuned base: {percent(untuned)}")
        panel.set_xscale("log", base=2)
        ticks = sorted({arm.epsilon_asked for arm in chosen if arm.epsilon_asked is not None})
        panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        panel.set_xlabel("epsilon (of the trust model's own adversary)")
        panel.set_title(f"{clients:,} clients")
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8)
    panels[0][0].set_ylabel("test accuracy after the last round")
    _finish(figure, title, arms, path)


def _curve(panel: Any, arm: Arm, index: int, name: str) -> None:
    by_round = arm.by_round("accuracy")
    rounds = list(by_round)
    colour, dashes = look(index)
    panel.plot(
        rounds,
        [sum(by_round[r]) / len(by_round[r]) for r in rounds],
        color=colour,
        linestyle=dashes,
        linewidth=1.3,
        label=name,
    )
    if len(arm.runs) > 1:
        low, high = ([pick(by_round[r]) for r in rounds] for pick in (min, max))
        panel.fill_between(rounds, low, high, color=colour, alpha=0.15, linewidth=0)


def _finish(figure: Any, title: str, arms: Sequence[Arm], path: Path) -> None:
    figure.suptitle(title)
    figure.tight_layout()
    footnote(figure, [summary for arm in arms for summary in arm.summaries])
    save_figure(figure, path, dpi=110)
