"""Several runs together: what their ledgers add up to against each adversary.

Takes verified ledgers; gives the joint epsilons of every set of runs that may protect the same contributions. Renyi
divergences at fixed orders add up however the runs were interleaved and whatever was chosen after seeing earlier
outputs (Feldman and Zrnic 2021). A ledger that does not say what it is about may be about anything: it is added to
every set, so that no epsilon here is ever too small for not knowing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from fl_core.privacy.accountant import Accountant, choose_accountant, epsilon
from fl_core.privacy.events import MechanismEvent, PrivacyError
from fl_core.privacy.ledger_entries import LedgerHeader
from fl_core.privacy.ledger_file import LedgerContents
from fl_core.privacy.ledger_summary import LedgerSummary, history, summary
from fl_core.privacy.rdp import ORDERS, rdp_of
from fl_core.privacy.views import VIEWS, View, Views, left_to_each

__all__ = ["Joint", "about_the_same", "add_up", "rdp_by_view", "rdp_of_ledger", "unlike"]

_ASIDE = (
    "The pld accountant takes noise and length of every run as chosen before the first of them; rdp does not need that."
)


@dataclass(frozen=True)
class Joint:
    """Runs that may protect the same contributions, added up.

    Attributes:
        ledgers: of these runs.
        unknown: ids of those that do not say what they are about, and are in this sum to be on the safe side.
        data, contribution: what the others are about; empty if none says.
        views: the joint epsilons, at the smallest delta of these runs.
        openings: opened sums of all of them.
        private: False when one of them is not.
        warnings: sentences that must be shown with the epsilons.
    """

    ledgers: tuple[LedgerContents, ...]
    unknown: tuple[str, ...]
    data: str
    contribution: str
    views: Views
    openings: int
    private: bool
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """One JSON object, with the keys of a single ledger's where they mean the same."""
        return {
            "runs": [contents.header.run for contents in self.ledgers],
            "unknown": list(self.unknown),
            "data": self.data,
            "contribution": self.contribution,
            "openings": self.openings,
            "private": self.private,
            "warnings": list(self.warnings),
            **self.views.to_json(self.private),
        }


def rdp_by_view(events: Sequence[MechanismEvent], header: LedgerHeader) -> dict[str, NDArray[np.float64]]:
    """RDP at `ORDERS` of all `events` of a run against each view's adversary; infinite where nothing protects."""
    total = {view: np.zeros(len(ORDERS)) for view in VIEWS}
    for event in events:
        for view, left in left_to_each(event, header.trust, header.backend).items():
            spent = np.inf if left is None else rdp_of(left, cast(Any, header.neighbouring))
            total[view] = total[view] + spent
    return total


def rdp_of_ledger(contents: LedgerContents) -> dict[str, NDArray[np.float64]]:
    """As `rdp_by_view`, of everything that a ledger says was opened."""
    if any(opening.noise_multiplier == 0.0 for opening in contents.openings):
        return {view: np.full(len(ORDERS), np.inf) for view in VIEWS}
    return rdp_by_view(history(contents), contents.header)


def unlike(one: LedgerHeader, other: LedgerHeader) -> str | None:
    """The key in which two runs say that they do not protect the same contributions; None where they may."""
    for key in ("unit", "neighbouring"):
        if getattr(one, key) != getattr(other, key):
            return key
    for key in ("data", "contribution"):
        if getattr(one, key) and getattr(other, key) and getattr(one, key) != getattr(other, key):
            return key
    return None


def about_the_same(ledgers: Sequence[LedgerContents]) -> list[tuple[LedgerContents, ...]]:
    """Every largest set of ledgers of which no two say that they protect different contributions."""
    found: list[tuple[LedgerContents, ...]] = []
    for unit, relation in dict.fromkeys((each.header.unit, each.header.neighbouring) for each in ledgers):
        alike = [each for each in ledgers if (each.header.unit, each.header.neighbouring) == (unit, relation)]
        # Whatever the silent ones are about, it is one of what the others say, or all are silent.
        datas = dict.fromkeys(each.header.data for each in alike if each.header.data) or {"": None}
        kinds = dict.fromkeys(each.header.contribution for each in alike if each.header.contribution) or {"": None}
        for data, kind in product(datas, kinds):
            found.append(
                tuple(
                    each for each in alike if each.header.data in ("", data) and each.header.contribution in ("", kind)
                )
            )
    runs = [{each.header.run for each in some} for some in found]
    kept = [some for i, some in enumerate(found) if not any(runs[i] < other for other in runs)]
    return list(dict.fromkeys(some for some in kept if some))


def add_up(ledgers: Sequence[LedgerContents], accountant: str | None = None) -> list[Joint]:
    """The joint epsilons of each of `about_the_same`.

    Args:
        ledgers: of different runs.
        accountant: `rdp`, `pld`, or None for `pld` where every opening of every run supports it.

    Raises:
        PrivacyError: if a run is there twice, or nothing is proven for what a ledger recorded.
    """
    seen: dict[str, LedgerContents] = {}
    for contents in ledgers:
        twin = seen.setdefault(contents.header.run, contents)
        if twin is not contents:
            raise PrivacyError(
                f"{twin.path} and {contents.path} are ledgers of one run ({contents.header.run}); give each run once."
            )
    return [_joint(some, accountant) for some in about_the_same(ledgers)]


def _joint(ledgers: tuple[LedgerContents, ...], accountant: str | None) -> Joint:
    each = [summary(contents, accountant) for contents in ledgers]
    headers = [contents.header for contents in ledgers]
    return Joint(
        ledgers=ledgers,
        unknown=tuple(header.run for header in headers if not (header.data and header.contribution)),
        # Those that say it all say the same.
        data=max(header.data for header in headers),
        contribution=max(header.contribution for header in headers),
        views=_views(ledgers, each, accountant),
        openings=sum(one.openings for one in each),
        private=all(one.private for one in each),
        warnings=tuple(dict.fromkeys(warning for one in each for warning in one.warnings)),
    )


def _views(ledgers: tuple[LedgerContents, ...], each: list[LedgerSummary], accountant: str | None) -> Views:
    first, delta = ledgers[0].header, min(contents.header.delta for contents in ledgers)
    left = [_left(contents) for contents in ledgers]
    events = {view: [event for parts in left for event in parts[view] if event is not None] for view in VIEWS}
    chosen = cast(Accountant, accountant or choose_accountant(events["release"]))
    notes = [_ASIDE] if chosen == "pld" and len(ledgers) > 1 else []
    if any(contents.header.delta != delta for contents in ledgers):
        notes.append(f"The runs' deltas differ; these epsilons are at the smallest, {delta:g}.")

    def view(name: str) -> View:
        alone = [cast(View, getattr(one.views, name)) for one in each]
        lacking = [
            f"Run {contents.header.run} has none: {own.note}"
            for contents, own in zip(ledgers, alone, strict=True)
            if own.epsilon is None
        ]
        found: float | None = None
        if not lacking:
            found = _epsilon(events[name], delta, chosen, first.neighbouring)
        note = lacking[0] if lacking else "" if found is not None else "No finite epsilon holds at this delta."
        adversary = "; ".join(dict.fromkeys(own.adversary for own in alone))
        return View(found, alone[0].unit, alone[0].neighbouring, adversary, note)

    three = {name: view(name) for name in VIEWS}
    notes += [note for one in each for note in one.views.notes]
    proven = all(one.views.proven for one, parts in zip(each, left, strict=True) if parts["release"])
    return Views(**three, delta=delta, accountant=chosen, proven=proven, notes=tuple(dict.fromkeys(notes)))


def _left(contents: LedgerContents) -> dict[str, list[MechanismEvent | None]]:
    parts = [left_to_each(event, contents.header.trust, contents.header.backend) for event in history(contents)]
    return {view: [part[view] for part in parts] for view in VIEWS}


def _epsilon(events: list[MechanismEvent], delta: float, accountant: Accountant, relation: str) -> float | None:
    if not events:
        return 0.0
    value = epsilon(events, delta, accountant, relation).epsilon
    return value if math.isfinite(value) else None
