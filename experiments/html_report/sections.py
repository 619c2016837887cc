"""Parts that the page of a run and the page of a sweep share: what must be said first, ledger, facts of the machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.arms import Run
from experiments.html_report.ledger_check import LedgerCheck
from experiments.html_report.markup import Content, Html, element

__all__ = ["Section", "Subject", "box", "machine", "tile", "unit_of", "verdict"]


@dataclass(frozen=True)
class Section:
    """A part of the page: its id, its heading and what it holds."""

    id: str
    heading: str
    content: Html


@dataclass(frozen=True)
class Subject:
    """A run that the page is about, what its ledger says now, and where the run is, as it was named."""

    run: Run
    check: LedgerCheck
    folder: Path | None = None

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.run[0]

    @property
    def borne_out(self) -> bool:
        """Whether nothing speaks against its numbers: a ledger that is not here does not."""
        return self.check.verdict != "fault"

    @property
    def summary(self) -> dict[str, Any]:
        """Its summary."""
        return self.run[2]


def box(kind: str | None, heading: str, *content: Content) -> Html:
    """What must not be overlooked; `kind` is `danger`, or None for an alert."""
    return element("div", element("h3", heading), *content, class_="box" + (f" {kind}" if kind else ""))


def tile(name: str, value: Content, *more: Content, kind: str | None = None) -> Html:
    """A number that the page is about."""
    below = [element("dd", line, class_="more") for line in more if line]
    return element("div", element("dt", name), element("dd", value, class_=kind), *below, class_="tile")


def verdict(check: LedgerCheck) -> Html:
    """The ledger's state, as a mark and a word."""
    mark, word, kind = {
        "intact": ("✓", "intact", "good"),
        "fault": ("✗", "fault", "bad"),
        "absent": ("–", "not here", None),
    }[check.verdict]
    return element("span", element("span", mark, aria_hidden="true"), f" {word}", class_=kind)


def machine(summaries: Sequence[dict[str, Any]]) -> list[tuple[Content, Content]]:
    """What the runs ran on, as far as their summaries say."""
    found: dict[str, dict[str, None]] = {}
    for summary in summaries:
        for name, value in summary.get("environment", {}).items():
            found.setdefault(str(name), {})[str(value)] = None
    facts: list[tuple[Content, Content]] = [(name, " / ".join(values)) for name, values in found.items()]
    return facts or [("versions and machine", "not in these summaries, which an earlier Sotto wrote")]


def unit_of(summary: dict[str, Any]) -> str:
    """The protected unit in a few words."""
    return {"example": "one record", "client": "one client"}[summary["privacy"]["unit"]]
