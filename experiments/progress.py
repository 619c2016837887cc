"""What is told of a run while it goes on, to whoever wants to hear, and the epsilon that it is held to."""

from __future__ import annotations

from typing import Protocol

from fl_core.config import RunConfig
from fl_core.privacy_plan import budget_view, target_epsilon
from fl_core.round_report import RoundReport

__all__ = ["RunProgress", "target_of"]


def target_of(config: RunConfig) -> tuple[str, float] | None:
    """The view whose epsilon a run must not exceed, and that epsilon; None where there is none."""
    target = target_epsilon(config)
    return None if target is None else (budget_view(config), target)


class RunProgress(Protocol):
    """Whoever wants to hear how a run goes."""

    def say(self, text: str) -> None:
        """What is being done before or after the rounds."""

    def note(self, text: str) -> None:
        """What a reader of the result must know, such as a data set that stands in for another."""

    def round(self, report: RoundReport) -> None:
        """A round is done."""
