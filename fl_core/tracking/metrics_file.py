"""`metrics.jsonl`: a JSON object a round, and what every other tracker is told.

It is appended to or replaced as a whole: a row that is on the disk is never lost to one that comes later. Numbers of a
simulation have no noise, so nobody but its owner may read it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fl_core.storage import StorageError, storage_errors, write_atomically

__all__ = ["MetricsFile", "read_metrics"]


def read_metrics(path: Path, count: str = "round") -> list[dict[str, Any]]:
    """Rounds recorded so far, oldest first; a torn last line (a crash while writing) is left out.

    Args:
        path: the file; none is no rounds.
        count: what rows are counted by.

    Raises:
        StorageError: if the file cannot be read, or a line before the last is not a row as `MetricsFile` writes it.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}") from None
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            row = json.loads(line.decode())
            _line(row)  # a number that is not finite was never written
        except (ValueError, TypeError, RecursionError):
            row = None
        if isinstance(row, dict) and type(row.get(count)) is int:
            rows.append(row)
        elif number < len(lines):
            raise StorageError(
                f"{path} line {number} is not JSON of a {count}'s numbers; restore the file or start a new run"
            )
    return rows


class MetricsFile:
    """Appends rows for rounds; on resume, rows after the checkpoint are dropped because their rounds run again.

    Args:
        path: the file.
        done: rounds that the checkpoint holds.

    Attributes:
        recorded: rows so far.
    """

    def __init__(self, path: Path, done: int) -> None:
        self._path = path
        rows = [row for row in read_metrics(path) if row["round"] <= done]
        self.recorded = len(rows)
        # Bytes of the file that are whole, and lines after them that are not known to be. Rows are not kept: a run has
        # as many as it has rounds.
        self._length, self._pending = 0, [_line(row) for row in rows]
        self._rewrite()

    def record(self, row: Mapping[str, Any]) -> None:
        """Append one round's row (strict JSON numbers and strings), on disk before returning.

        Raises:
            StorageError: if it cannot be written; `settle` tries again.
        """
        self._pending.append(_line(row))
        self.recorded += 1
        if len(self._pending) > 1:
            self._rewrite()
            return
        with storage_errors(self._path), self._path.open("ab") as handle:
            handle.write(self._pending[0])
            handle.flush()
            os.fsync(handle.fileno())
        self._settled()

    def add(self, numbers: Mapping[str, Any]) -> None:
        """Add numbers to the row of the round that came last, on disk before returning.

        Raises:
            StorageError: if the file cannot be read or written; it is then as it was.
        """
        self.settle()
        *others, last = read_metrics(self._path)
        lines = b"".join(map(_line, [*others, {**last, **numbers}]))
        write_atomically(self._path, lines, private=True)
        self._length = len(lines)

    def settle(self) -> None:
        """Have every row on the disk, also one that could not be written when it came.

        Raises:
            StorageError: if it still cannot.
        """
        if self._pending:
            self._rewrite()

    def close(self) -> None:
        """Nothing: every row is on the disk."""

    def _rewrite(self) -> None:
        whole = b""
        if self._length:
            with storage_errors(self._path):
                whole = self._path.read_bytes()[: self._length]
        write_atomically(self._path, b"".join((whole, *self._pending)), private=True)
        self._settled()

    def _settled(self) -> None:
        self._length += sum(map(len, self._pending))
        self._pending.clear()


def _line(row: Mapping[str, Any]) -> bytes:
    return (json.dumps(dict(row), sort_keys=True, allow_nan=False) + "\n").encode()
