"""The rule of a budget that several runs share: no opening takes all of them together beyond its epsilon.

Takes the budget's folder and a run's open ledger. A run is registered before its first opening, and from the check to
the ledger's entry no other run can claim, so that two runs never both take what was left. RDP at fixed orders adds up
over runs however they are interleaved (Feldman and Zrnic 2021). A registered ledger that is missing, cut back or
changed stops every run of the budget: what it had spent is not forgotten.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fl_core.budget_folder import Book, Registered, Terms, locked, read_book, read_registered, write_book
from fl_core.privacy.joint import rdp_of_ledger, unlike
from fl_core.privacy.ledger import Head, Ledger, LedgerContents
from fl_core.privacy.rdp import epsilon_from_rdp
from secagg.errors import SottoError

__all__ = ["TOLERANCE", "BudgetExhausted", "SharedBudget"]

# Calibration meets a target from below up to rounding of the noise; this only absorbs float summation.
TOLERANCE = 1e-9

Rdp = NDArray[np.float64]


class BudgetExhausted(SottoError):
    """One more opening would exceed `privacy.epsilon` or a shared budget; nothing was opened."""


class SharedBudget:
    """One run's place in a budget.

    Args:
        folder: the budget.
        ledger: the run's, open.
        first: RDP by view after the cheapest first opening, which must fit if the run has opened nothing yet.

    Raises:
        BudgetExhausted: if nothing is left.
        SottoError: if the budget or one of its ledgers cannot be read or is about something else, or the budget has
            forgotten this run.
    """

    def __init__(self, folder: Path, ledger: Ledger, first: Mapping[str, Rdp]) -> None:
        self._folder, self._ledger = folder, ledger
        self._seen: dict[Path, tuple[tuple[int, ...], LedgerContents, Rdp]] = {}
        here = ledger.path.resolve()
        with locked(folder):
            book = read_book(folder)
            before = next((entry for entry in book.runs if entry.run == ledger.header.run), None)
            opened = ledger.lines > 1
            if before is None and opened:
                raise SottoError(
                    f"run {ledger.header.run} has openings that the budget {folder} does not know of: bring back the "
                    "budget.json that it was registered in"
                )
            if before is not None and before.ledger != here and before.ledger.exists():
                raise SottoError(
                    f"run {ledger.header.run} is counted in the budget {folder} by its ledger {before.ledger}, and "
                    f"{here} is another; go on with the first"
                )
            own = Registered(ledger.header.run, here, before.head if before else Head(ledger.lines, ledger.head))
            read_registered(folder, own)
            others = self._others(book)
            if not opened:
                self._refuse_excess(book.terms, others, first)
            self._write(book, own)

    @contextlib.contextmanager
    def claim(self, after: Mapping[str, Rdp]) -> Iterator[None]:
        """Refuse an opening after which this run will have spent `after`, by view, if that is too much for all runs.

        The block must write the ledger's entry: while it runs, no other run of the budget can claim.

        Raises:
            BudgetExhausted: with the epsilon that it would have reached, and the runs.
            SottoError: as the class.
        """
        with locked(self._folder):
            book = read_book(self._folder)
            self._refuse_excess(book.terms, self._others(book), after)
            yield
            here = self._ledger.path.resolve()
            self._write(book, Registered(self._ledger.header.run, here, Head(self._ledger.lines, self._ledger.head)))

    def _write(self, book: Book, own: Registered) -> None:
        others = tuple(entry for entry in book.runs if entry.run != own.run)
        write_book(self._folder, replace(book, runs=(*others, own)))

    def _others(self, book: Book) -> dict[Path, Rdp]:
        """RDP in the budget's view of every other run, by ledger; read again only where a file has changed."""
        found = {}
        for entry in book.runs:
            if entry.run == self._ledger.header.run:
                continue
            mark: tuple[int, ...]
            try:
                state = entry.ledger.stat()
                mark = (state.st_ino, state.st_size, state.st_mtime_ns)
            except OSError:
                mark = ()
            known = self._seen.get(entry.ledger)
            if known is None or known[0] != mark or not mark:
                contents = read_registered(self._folder, entry)
                known = self._seen[entry.ledger] = (mark, contents, rdp_of_ledger(contents)[book.terms.view])
            differs = unlike(known[1].header, self._ledger.header)
            if differs:
                theirs, ours = (getattr(header, differs) for header in (known[1].header, self._ledger.header))
                raise SottoError(
                    f"the budget {self._folder} counts run {entry.ledger.parent}, whose {differs} is {theirs!r}; this "
                    f"run's is {ours!r}, so their epsilons do not add up: use another budget"
                )
            found[entry.ledger] = known[2]
        return found

    def _refuse_excess(self, terms: Terms, others: Mapping[Path, Rdp], after: Mapping[str, Rdp]) -> None:
        total = epsilon_from_rdp(sum(others.values(), after[terms.view]), terms.delta)
        if total > terms.epsilon * (1 + TOLERANCE):
            spent = [str(path.parent) for path, rdp in others.items() if rdp.any()]
            named = ", ".join(spent[:3]) + (f" and {len(spent) - 3} others" if len(spent) > 3 else "")
            raise BudgetExhausted(
                f"stopped by the budget {self._folder}: one more opening would take this run"
                f"{f' and {named}' if spent else ''} to epsilon {total:.4f} in the {terms.view} view, and "
                f"{terms.epsilon:g} is allowed"
            )
