"""What of a round's row is a number, and what of it may leave this machine.

A row says what was released: scores on public test data, epsilons, counts of survivors, bytes and seconds. What only a
simulation can see (clipped samples, private losses; nothing of it is noised) stands under SIMULATION in it, and is for
the run folder alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fl_core.task import WHOLE

__all__ = ["SIMULATION", "numbers", "public", "simulated"]

SIMULATION = "simulation/"


def simulated(seen: Mapping[str, float]) -> dict[str, float]:
    """What a simulation saw, under the names that keep it in the run folder."""
    return {f"{SIMULATION}{name}": value for name, value in seen.items()}


def numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a row by name, without the round."""
    return {
        key: value
        for key, value in row.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and key != "round"
    }


def public(row: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a row that were released; no text, and nothing under a heading but WHOLE's scores."""
    return {key: value for key, value in numbers(row).items() if "/" not in key.removeprefix(WHOLE)}
