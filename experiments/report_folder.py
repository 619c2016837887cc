"""Where a report may be written: a new or empty folder, that of an earlier report, or one of run folders."""

from __future__ import annotations

from pathlib import Path

from fl_core.foreign_folder import refuse_foreign

__all__ = ["refuse_other_folder"]

_REPORT = ("runs.json", "table.md")
_RUN = (".lock", "config.yaml", "summary.json")


def refuse_other_folder(out: Path) -> None:
    """Refuse a folder that is neither.

    Raises:
        StorageError: naming what is there.
    """
    refuse_foreign(out, "report", _own)


def _own(entry: Path) -> bool:
    return entry.name in _REPORT or any((entry / name).is_file() for name in _RUN)
