"""Repeated runs of one setting, seen as one arm of an experiment: mean, spread, and the share of the gain it keeps.

Takes runs whose names end with `@1`, `@2`, ... where a sweep repeated them; gives arms in the order of their first
runs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from secagg.errors import SottoError

__all__ = [
    "PRIVATE_TRUSTS",
    "Arm",
    "Run",
    "arm_name",
    "arms_of",
    "by_clients",
    "chosen_runs",
    "gain_kept",
    "repeated",
    "trust_arms",
    "trust_points",
]

# Name, rows of metrics.jsonl, summary.
Run = tuple[str, list[dict[str, Any]], dict[str, Any]]

PRIVATE_TRUSTS = ("central", "distributed", "local")  # in the order in which figures compare them

# What a setting shares with the run without privacy that its gain is measured by.
_SAME = (
    ("federation", "clients"),
    ("privacy", "unit"),
    ("data", "name"),
    ("lora", "rank"),
    ("lora", "targets"),
    ("lora", "blocks"),
)


@dataclass(frozen=True)
class Arm:
    """Runs of one setting that differ by their randomness only.

    Attributes:
        name: without the repetition's number.
        runs: at least one.
    """

    name: str
    runs: tuple[Run, ...]

    @property
    def summary(self) -> dict[str, Any]:
        """Of the first run."""
        return self.runs[0][2]

    @property
    def summaries(self) -> list[dict[str, Any]]:
        """Of all runs."""
        return [summary for _, _, summary in self.runs]

    @property
    def trust(self) -> str:
        """The trust model."""
        return str(self.summary["config"]["privacy"]["trust"])

    @property
    def epsilon_asked(self) -> float | None:
        """The epsilon that was asked for; None where the noise was given, or none."""
        asked: float | None = self.summary["config"]["privacy"].get("epsilon")
        return asked

    @property
    def clients(self) -> int:
        """How many the setting has."""
        return int(self.summary["config"]["federation"]["clients"])

    @property
    def untuned_level(self) -> float:
        """The untuned accuracy as curves show it: many rounds are scored on a part of the test data only."""
        rows = [row for row in self.runs[0][1] if "accuracy" in row and row["round"] == 0]
        return float(rows[0]["accuracy"]) if rows else self.mean("accuracy_before")

    def mean(self, key: str) -> float:
        """Mean of a number of the summaries."""
        return sum(float(summary[key]) for summary in self.summaries) / len(self.runs)

    def deviation(self, key: str) -> float | None:
        """Standard deviation between runs; None for a single one."""
        count = len(self.runs)
        if count == 1:
            return None
        mean = self.mean(key)
        return math.sqrt(sum((float(summary[key]) - mean) ** 2 for summary in self.summaries) / (count - 1))

    def by_round(self, key: str) -> dict[int, list[float]]:
        """What the runs' rows have of `key`, by round, in the order of rounds."""
        found: dict[int, list[float]] = {}
        for _, rows, _ in self.runs:
            for row in rows:
                if key in row:
                    found.setdefault(row["round"], []).append(row[key])
        return dict(sorted(found.items()))

    def score(self, when: str, name: str) -> float | None:
        """Mean of a score `before` or `after` the run; None where the task has none of that name."""
        found = [summary.get(f"scores_{when}", {}).get(name) for summary in self.summaries]
        return None if None in found else sum(map(float, found)) / len(found)


def repeated(arm: str, count: int) -> str:
    """Name of an arm's run number `count`, from 1."""
    return f"{arm}@{count}"


def arm_name(run: str) -> str:
    """A run's name without the repetition's number."""
    return re.sub(r"@\d+$", "", run)


def arms_of(runs: Sequence[Run]) -> list[Arm]:
    """Runs grouped by name, `x@1` and `x@2` being two runs of x."""
    grouped: dict[str, list[Run]] = {}
    for run in runs:
        grouped.setdefault(arm_name(run[0]), []).append(run)
    return [Arm(name, tuple(some)) for name, some in grouped.items()]


def chosen_runs(runs: Sequence[Run], only: Sequence[str]) -> list[Run]:
    """The runs whose name, or whose name without the repetition's number, is in `only`; empty: all.

    Raises:
        SottoError: for a name that no run has, or a name that two runs share.
    """
    arms = {name: arm_name(name) for name, _, _ in runs}
    for name in only:
        if name not in arms and name not in arms.values():
            raise SottoError(f"no run is called {name}; allowed: {', '.join(dict.fromkeys(arms.values()))}")
    chosen = [run for run in runs if not only or run[0] in only or arms[run[0]] in only]
    names = [name for name, _, _ in chosen]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SottoError(f"two runs are called {twice}; give folders or reports whose runs have different names")
    return chosen


def by_clients(arms: Sequence[Arm]) -> dict[int, list[Arm]]:
    """Arms by their number of clients, fewest first."""
    found: dict[int, list[Arm]] = {}
    for arm in sorted(arms, key=lambda arm: arm.clients):
        found.setdefault(arm.clients, []).append(arm)
    return found


def trust_arms(arms: Sequence[Arm]) -> list[Arm]:
    """The arms by which trust models are compared, private ones that asked for an epsilon; none for a single model."""
    private = [arm for arm in arms if arm.trust != "none" and arm.epsilon_asked is not None]
    return private if len({arm.trust for arm in private}) > 1 else []


def trust_points(arms: Sequence[Arm], trust: str) -> list[tuple[float, float, float]]:
    """(epsilon asked for, accuracy, its deviation or 0) of the arms of a trust model, by epsilon."""
    return sorted(
        (arm.epsilon_asked, arm.mean("accuracy_after"), arm.deviation("accuracy_after") or 0.0)
        for arm in arms
        if arm.trust == trust and arm.epsilon_asked is not None
    )


def gain_kept(arm: Arm, arms: Sequence[Arm]) -> float | None:
    """This arm's gain in accuracy over the untuned base, over that of the arm without privacy; None if there is
    none.
    """
    free = [other for other in arms if other.trust == "none" and _setting(other) == _setting(arm)]
    if len(free) != 1:
        return None
    whole = free[0].mean("accuracy_after") - free[0].mean("accuracy_before")
    own = arm.mean("accuracy_after") - arm.mean("accuracy_before")
    return own / whole if whole > 0 else None


def _setting(arm: Arm) -> list[Any]:
    return [arm.summary["config"][section].get(key) for section, key in _SAME]
