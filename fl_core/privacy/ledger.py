"""The ledger, for those who use it: its lines, its file and what it amounts to, under one name.

The parts are `ledger_entries` (what it says), `ledger_lines` (as which bytes), `ledger_file` (appending and verifying)
and `ledger_summary` (the history and the epsilons).
"""

from fl_core.privacy.ledger_entries import LedgerError, LedgerHeader, Opening
from fl_core.privacy.ledger_file import Head, Ledger, LedgerContents, read_ledger
from fl_core.privacy.ledger_summary import (
    LedgerSummary,
    history,
    opening_event,
    standing_warnings,
    summarise_ledger,
    summary,
)

__all__ = [
    "Head",
    "Ledger",
    "LedgerContents",
    "LedgerError",
    "LedgerHeader",
    "LedgerSummary",
    "Opening",
    "history",
    "opening_event",
    "read_ledger",
    "standing_warnings",
    "summarise_ledger",
    "summary",
]
