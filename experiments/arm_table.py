"""The table of a comparison: a row an arm, as cells for people, as Markdown, and as numbers for scripts.

Takes arms; gives text and numbers. No epsilon is without its unit, trust model and mechanism in the same row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.arms import Arm, gain_kept
from experiments.formatting import epsilon
from experiments.summary import warnings_and_notes
from fl_core.privacy.views import VIEWS

__all__ = ["arm_facts", "arm_table", "as_markdown", "noise_by"]

# What runs did before they could choose; their summaries say nothing of it.
_BEFORE = {"by": "clients", "dropout": "oversize"}

_COLUMNS = (
    "data",
    "clients",
    "unit",
    "trust",
    "mechanism",
    "noise by",
    "backend",
    "eps release",
    "eps aggregators",
    "eps local",
    "accuracy before",
    "accuracy after",
    "ring bits",
    "bytes/client/round",
    "seconds",
)


def arm_table(arms: Sequence[Arm]) -> tuple[list[str], list[list[str]]]:
    """Columns and one row of cells an arm: mean accuracy, with the deviation between runs where there are several."""
    columns, rows = list(_COLUMNS), [_cells(arm) for arm in arms]
    if any(len(arm.runs) > 1 for arm in arms):
        columns.append("runs")
        for arm, row in zip(arms, rows, strict=True):
            row.append(str(len(arm.runs)))
    kept = [gain_kept(arm, arms) for arm in arms]
    # The run without privacy keeps all of its own gain, which says something beside others only.
    if any(share is not None for arm, share in zip(arms, kept, strict=True) if arm.trust != "none"):
        columns.append("gain kept")
        for share, row in zip(kept, rows, strict=True):
            row.append("-" if share is None else f"{share:.1%}")
    for name, title in (("top3_accuracy", "top-3"), ("token_accuracy", "token accuracy"), ("perplexity", "perplexity")):
        if any(arm.score("after", name) is not None for arm in arms):
            columns.append(f"{title}, before and after")
            for arm, row in zip(arms, rows, strict=True):
                row.append(" → ".join(_score(arm.score(when, name)) for when in ("before", "after")))
    return columns, rows


def as_markdown(arms: Sequence[Arm], faults: Mapping[str, str] | None = None) -> str:
    """The table with every warning and note of its runs below it; above it what is wrong with a run's ledger.

    Args:
        arms: a row each.
        faults: by the run's name.
    """
    columns, rows = arm_table(arms)
    lines = [
        f"**The ledger does not bear out the numbers of {name}:** {told}\n" for name, told in (faults or {}).items()
    ]
    lines += ["| run | " + " | ".join(columns) + " | notes |", "|" + "---|" * (len(columns) + 2)]
    notes: dict[str, int] = {}
    for arm, row in zip(arms, rows, strict=True):
        said = dict.fromkeys(text for one in arm.summaries for text in warnings_and_notes(one))
        numbers = [str(notes.setdefault(text, len(notes) + 1)) for text in said]
        lines.append(f"| {arm.name} | " + " | ".join(row) + f" | {', '.join(numbers)} |")
    delta = sorted({arm.summary["privacy"]["delta"] for arm in arms})
    lines += ["", f"Adjacency zero-out, delta {', '.join(f'{value:g}' for value in delta)}; ∞: no finite epsilon.", ""]
    return "\n".join([*lines, *(f"{number}. {text}" for text, number in notes.items())]) + "\n"


def arm_facts(arms: Sequence[Arm]) -> list[dict[str, Any]]:
    """Each arm's table row as numbers for scripts: names of runs, epsilons by view, mean and deviation of accuracy."""
    return [
        {
            "name": arm.name,
            "runs": [name for name, _, _ in arm.runs],
            "trust": arm.trust,
            "epsilon_target": arm.epsilon_asked,
            "epsilon": {name: view["epsilon"] for name, view in arm.summary["privacy"]["views"].items()},
            "accuracy_before": arm.mean("accuracy_before"),
            "accuracy_after": arm.mean("accuracy_after"),
            "accuracy_deviation": arm.deviation("accuracy_after"),
            "gain_kept": gain_kept(arm, arms),
            "bytes_per_client": arm.mean("bytes_per_client"),
            "seconds": arm.mean("seconds"),
        }
        for arm in arms
    ]


def noise_by(config: dict[str, Any]) -> str:
    """Who adds the noise of a resolved configuration, and how it outlives drop-outs where that was chosen."""
    trust = config["privacy"]["trust"]
    if trust != "distributed":
        return {"none": "-", "central": "server", "local": "clients"}[trust]
    chosen = config.get("noise", _BEFORE)
    by = "clients + aggregators" if chosen["by"] == "both" else chosen["by"]
    return by + (", xnoise" if chosen["dropout"] == "xnoise" else "")


def _cells(arm: Arm) -> list[str]:
    """In the order of `_COLUMNS`; repetitions have one configuration, and the epsilons are those of the first."""
    summary, config = arm.summary, arm.summary["config"]
    views = summary["privacy"]["views"]
    return [
        summary["data"],
        f"{arm.clients:,}",
        config["privacy"]["unit"],
        arm.trust,
        config["privacy"]["mechanism"] if arm.trust != "none" else "-",
        noise_by(config),
        config["aggregation"]["backend"],
        *(epsilon(views[view]["epsilon"]) for view in VIEWS),
        f"{summary['accuracy_before']:.4f}",
        _spread(arm, "accuracy_after"),
        f"{summary.get('ring_bits', 64)}",
        f"{summary['bytes_per_client']:,}",
        f"{arm.mean('seconds'):.1f}",
    ]


def _spread(arm: Arm, key: str) -> str:
    deviation = arm.deviation(key)
    return f"{arm.mean(key):.4f}" + ("" if deviation is None else f" ± {deviation:.4f}")


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}" if value < 1 else f"{value:.1f}"
