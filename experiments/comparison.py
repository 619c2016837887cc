"""Figures over several arms: accuracy by round, and accuracy by epsilon and trust.

Takes arms; writes PNG files. Repetitions are a mean with the band between the least and the most. Colour is never the
only mark of a curve, and the untuned base is a line in every panel.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.arms import Arm
from experiments.figures import COLOURS, DASHES, accuracy_limits, adapted_targets, footnote, label, pyplot

__all__ = ["MARKERS", "draw_comparison", "draw_trust", "looks", "start_of"]

# Characters of the longest legend entry that still has room for another beside it.
_ABREAST = 55
MARKERS = {"central": "s", "distributed": "o", "local": "v"}


def draw_comparison(arms: Sequence[Arm], title: str, path: Path) -> None:
    """Accuracy by round, one column per number of clients; below, the best five points enlarged where all is high.

    Args:
        arms: settings with their runs.
        title: figure title.
        path: PNG file to write.
    """
    plt = pyplot()
    counts = sorted({_clients(arm) for arm in arms})
    columns = {clients: [arm for arm in arms if _clients(arm) == clients] for clients in counts}
    names = looks(arms)
    abreast = 2 if max(map(len, names.values())) <= _ABREAST else 1  # legend entries
    below = 0.3 * max(len(chosen) for chosen in columns.values()) / abreast  # inches
    order = list(dict.fromkeys(names.values()))
    best = max(arm.mean("accuracy_after") for arm in arms)
    reached = [row["accuracy"] for arm in arms for _, rows, _ in arm.runs for row in rows if "accuracy" in row]
    limits = accuracy_limits(reached)
    parts = any(start_of(arm) != arm.mean("accuracy_before") for arm in arms)
    bands = [limits, (best - 0.05, best + 0.005)] if limits == (0.0, 1.0) else [limits]
    figure, panels = plt.subplots(
        len(bands),
        len(counts),
        figsize=(6.5 * len(counts), 4.0 * len(bands) + 0.5 + below),
        sharex=True,
        sharey="row",
        squeeze=False,
    )
    for column, (clients, chosen) in enumerate(columns.items()):
        for panel in panels[:, column]:
            for arm in chosen:
                index = order.index(names[arm.name])  # one look per kind of run, the same in every column
                _curve(panel, arm, index, f"{names[arm.name]}: {_percent(arm.mean('accuracy_after'))}")
            panel.grid(alpha=0.3)
            untuned = f"untuned base: {_percent(chosen[0].mean('accuracy_before'))}"
            panel.axhline(start_of(chosen[0]), color="grey", linestyle=":", label=untuned)
        panels[0][column].set_title(f"{clients:,} clients")
        panels[-1][column].set_xlabel("round")
        # Below the curves: they may run anywhere.
        panels[-1][column].legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=abreast, fontsize=7)
    for row, band in enumerate(bands):
        what = "test accuracy" + (" on a part; legend: on all test data" if parts else "")
        panels[row][0].set_ylabel(what if row == 0 else f"{what}, enlarged")
        panels[row][0].set_ylim(*band)
    _finish(plt, figure, title, arms, path)


def draw_trust(arms: Sequence[Arm], title: str, path: Path) -> None:
    """Accuracy after the last round by epsilon, a mark per trust model, one column per number of clients.

    The untuned base and the run without privacy are lines; bars are the standard deviation between runs.
    """
    plt = pyplot()
    private = [arm for arm in arms if arm.summary["config"]["privacy"]["epsilon"] is not None]
    counts = sorted({_clients(arm) for arm in private})
    figure, panels = plt.subplots(1, len(counts), figsize=(5.5 * len(counts), 4.5), sharey=True, squeeze=False)
    for panel, clients in zip(panels[0], counts, strict=True):
        chosen = [arm for arm in private if _clients(arm) == clients]
        for index, trust in enumerate(MARKERS):
            points = sorted(
                (
                    arm.summary["config"]["privacy"]["epsilon"],
                    arm.mean("accuracy_after"),
                    arm.deviation("accuracy_after"),
                )
                for arm in chosen
                if arm.summary["config"]["privacy"]["trust"] == trust
            )
            if points:
                panel.errorbar(
                    [epsilon for epsilon, _, _ in points],
                    [accuracy for _, accuracy, _ in points],
                    yerr=[deviation or 0.0 for _, _, deviation in points],
                    color=COLOURS[index],
                    marker=MARKERS[trust],
                    linestyle=DASHES[index],
                    capsize=3,
                    label=trust,
                )
        for arm in arms:
            if _clients(arm) == clients and arm.summary["config"]["privacy"]["trust"] == "none":
                panel.axhline(arm.mean("accuracy_after"), color="black", linewidth=1, label="no privacy")
        untuned = chosen[0].mean("accuracy_before")
        panel.axhline(untuned, color="grey", linestyle=":", label=f"untuned base: {_percent(untuned)}")
        panel.set_xscale("log", base=2)
        ticks = sorted({arm.summary["config"]["privacy"]["epsilon"] for arm in chosen})
        panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        panel.set_xlabel("epsilon (of the trust model's own adversary)")
        panel.set_title(f"{clients:,} clients")
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8)
    panels[0][0].set_ylabel("test accuracy after the last round")
    _finish(plt, figure, title, arms, path)


def _curve(panel: Any, arm: Arm, index: int, name: str) -> None:
    by_round = arm.by_round("accuracy")
    rounds = list(by_round)
    colour = COLOURS[index % len(COLOURS)]
    panel.plot(
        rounds,
        [sum(by_round[r]) / len(by_round[r]) for r in rounds],
        color=colour,
        linestyle=DASHES[index % len(DASHES)],
        linewidth=1.3,
        label=name,
    )
    if len(arm.runs) > 1:
        low, high = ([pick(by_round[r]) for r in rounds] for pick in (min, max))
        panel.fill_between(rounds, low, high, color=colour, alpha=0.15, linewidth=0)


def looks(arms: Sequence[Arm]) -> dict[str, str]:
    """What each arm is called in a legend, by what differs; arms of one kind in one panel are told apart by names."""
    targets = len({tuple(adapted_targets(arm.summary)) for arm in arms}) > 1
    units = len({arm.summary["config"]["privacy"]["unit"] for arm in arms}) > 1
    kinds = [(label(arm.summary, targets, units), _clients(arm)) for arm in arms]
    return {
        arm.name: kind[0] if kinds.count(kind) == 1 else f"{kind[0]} [{arm.name}]"
        for arm, kind in zip(arms, kinds, strict=True)
    }


def start_of(arm: Arm) -> float:
    """The untuned accuracy as the curve shows it: many rounds are scored on a part of the test data only."""
    rows = [row for row in arm.runs[0][1] if "accuracy" in row and row["round"] == 0]
    return float(rows[0]["accuracy"]) if rows else arm.mean("accuracy_before")


def _percent(accuracy: float) -> str:
    return f"{accuracy:.2%}"


def _clients(arm: Arm) -> int:
    return int(arm.summary["config"]["federation"]["clients"])


def _finish(plt: Any, figure: Any, title: str, arms: Sequence[Arm], path: Path) -> None:
    figure.suptitle(title)
    figure.tight_layout()
    footnote(figure, [summary for arm in arms for summary in arm.summaries])
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)
