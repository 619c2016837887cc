"""Whoever wants to hear how a run goes."""

from __future__ import annotations

from typing import Protocol

from fl_core.round_report import RoundReport

__all__ = ["RunProgress"]


class RunProgress(Protocol):
    """Whoever wants to hear how a run goes."""

    def say(self, text: str) -> None:
        """What is being done before or after the rounds."""

    def note(self, text: str) -> None:
        """What a reader of the result must know, such as a data set that stands in for another."""

    def round(self, report: RoundReport) -> None:
        """A round is done."""
