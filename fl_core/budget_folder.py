"""The folder of a budget that several runs share: what they may spend together, and where their ledgers are.

Takes terms and registrations; gives one file that is replaced as a whole, under a lock that every reader and writer
holds, so that it is never torn and no registered ledger is read while a line is being written. A ledger is read only if
it still holds the head it once had. The rule that stops runs is `fl_core.shared_budget`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from fl_core.privacy.joint import rdp_of_ledger
from fl_core.privacy.ledger import Head, LedgerContents, LedgerError, read_ledger
from fl_core.privacy.rdp import ORDERS, epsilon_from_rdp
from fl_core.privacy.views import VIEWS
from fl_core.storage import StorageError, storage_errors, write_json
from secagg.errors import SottoError

__all__ = [
    "Book",
    "Registered",
    "Spending",
    "Terms",
    "create_budget",
    "locked",
    "read_book",
    "read_registered",
    "registers",
    "spending",
    "write_book",
]

_FORMAT = 1


@dataclass(frozen=True)
class Terms:
    """What all runs together may spend: `epsilon` at `delta`, against the adversary of `view`."""

    epsilon: float
    delta: float
    view: str = "aggregators"

    def __post_init__(self) -> None:
        for name, value, most in (("epsilon", self.epsilon, math.inf), ("delta", self.delta, 1.0)):
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < most:
                raise SottoError(
                    f"a budget's {name} is {value!r}; allowed: a number above 0" + " and below 1" * (most == 1)
                )
        if self.view not in VIEWS:
            raise SottoError(f"a budget's view is {self.view!r}; allowed: {', '.join(VIEWS)}")


@dataclass(frozen=True)
class Registered:
    """A run of the budget: its ledger's file, and a head that the ledger has had."""

    run: str
    ledger: Path
    head: Head


@dataclass(frozen=True)
class Book:
    """What the folder says: what may be spent, and by which runs."""

    terms: Terms
    runs: tuple[Registered, ...]


@dataclass(frozen=True)
class Spending:
    """What a budget's runs have spent: each one's ledger and, in the budget's view, its epsilon; and all together."""

    terms: Terms
    runs: tuple[tuple[Registered, LedgerContents, float], ...]
    epsilon: float


def create_budget(folder: Path, terms: Terms) -> None:
    """Begin a budget.

    Raises:
        StorageError: if one is there already, or the folder cannot be written.
    """
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".lock").touch()
    with locked(folder):
        if _file(folder).exists():
            raise StorageError(f"{folder} holds a budget already; choose another folder")
        write_book(folder, Book(terms, ()))


def registers(folder: Path, ledger: Path) -> bool:
    """Whether a run of the budget has its ledger at this path.

    Raises:
        SottoError: if the budget cannot be read.
    """
    with locked(folder):
        return any(entry.ledger == ledger.resolve() for entry in read_book(folder).runs)


def spending(folder: Path) -> Spending:
    """What was spent so far.

    Raises:
        SottoError: if the budget or one of its ledgers cannot be read.
    """
    with locked(folder):
        book = read_book(folder)
        ledgers = [read_registered(folder, entry) for entry in book.runs]
    spent = [rdp_of_ledger(contents)[book.terms.view] for contents in ledgers]
    each = tuple(
        (entry, contents, epsilon_from_rdp(rdp, book.terms.delta))
        for entry, contents, rdp in zip(book.runs, ledgers, spent, strict=True)
    )
    return Spending(book.terms, each, epsilon_from_rdp(sum(spent, np.zeros(len(ORDERS))), book.terms.delta))


def _file(folder: Path) -> Path:
    return folder / "budget.json"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the budget's lock; waits for another run's claim, which takes no longer than writing a line.

    Raises:
        StorageError: if the folder holds no budget.
    """
    try:
        lock = (folder / ".lock").open("r+")
    except OSError as error:
        raise StorageError(
            f"{folder} holds no budget ({error.strerror}); "
            f"`sotto budget init {folder} --epsilon E --delta D` begins one"
        ) from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def read_registered(folder: Path, entry: Registered) -> LedgerContents:
    """The ledger of one run of the budget; the lock must be held.

    Raises:
        LedgerError: if it is missing, damaged, or not the one that was registered.
    """
    try:
        return read_ledger(entry.ledger, entry.head)
    except LedgerError as error:
        raise LedgerError(
            f"the budget {folder} counts run {entry.run}, which cannot be counted now: {str(error).rstrip('.')}; "
            "bring its ledger back, until then nothing is opened"
        ) from None


def read_book(folder: Path) -> Book:
    """What the folder says; the lock must be held.

    Raises:
        StorageError: if the file is missing or not a budget's.
    """
    path = _file(folder)
    try:
        found = json.loads(path.read_bytes())
        if set(found) != {"format", "terms", "runs"} or found["format"] != _FORMAT:
            raise ValueError(f"it is not of format {_FORMAT}")
        runs = tuple(_registered(**entry) for entry in found["runs"])
        return Book(Terms(**found["terms"]), runs)
    except OSError as error:
        raise StorageError(f"{path} cannot be read ({error.strerror}); without it nothing is opened") from None
    except (ValueError, TypeError, RecursionError, SottoError) as error:
        raise StorageError(f"{path} is damaged ({error}); bring it back, until then nothing is opened") from None


def _registered(run: str, ledger: str, lines: int, head: str) -> Registered:
    if not (isinstance(run, str) and isinstance(ledger, str) and type(lines) is int and isinstance(head, str)):
        raise TypeError("a run's entry has a value of another kind")
    return Registered(run, Path(ledger), Head(lines, head))


def write_book(folder: Path, book: Book) -> None:
    """Replace what the folder says, on disk before returning; the lock must be held."""
    runs = [
        {"run": entry.run, "ledger": str(entry.ledger), "lines": entry.head.lines, "head": entry.head.hash}
        for entry in book.runs
    ]
    write_json(_file(folder), {"format": _FORMAT, "terms": asdict(book.terms), "runs": runs})
