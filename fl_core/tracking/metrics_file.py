"""`metrics.jsonl`: a JSON object a round, and what every other tracker is told."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fl_core.run_folder import StorageError, storage_errors, write_atomically

__all__ = ["MetricsFile", "read_metrics"]


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Rounds recorded so far, oldest first; a torn last line (a crash while writing) is left out.

    Raises:
        StorageError: if a line before the last is not JSON.
    """
    if not path.exists():
        return []
    rows: list[dict[str, Any]] = []
    lines = path.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            rows.append(json.loads(line))
        except ValueError:
            if number == len(lines):
                break
            raise StorageError(f"{path} line {number} is not JSON; restore the file or start a new run") from None
    return rows


class MetricsFile:
    """Appends rows for rounds; on resume, rows after the checkpoint are dropped because their rounds run again.

    Args:
        path: the file.
        done: rounds that the checkpoint holds.
    """

    def __init__(self, path: Path, done: int) -> None:
        self._path = path
        self.rows = [row for row in read_metrics(path) if row["round"] <= done]
        self._rewrite()

    def record(self, row: Mapping[str, Any]) -> None:
        """Append one round's row (strict JSON numbers and strings), on disk before returning.

        Raises:
            StorageError: if it cannot be written; `settle` tries again.
        """
        line = _line(row)
        self.rows.append(dict(row))
        self._whole = False
        with storage_errors(self._path), self._path.open("a", encoding="utf-8") as handle:
            handle.write(line)
            handle.flush()
            os.fsync(handle.fileno())
        self._whole = True

    def settle(self) -> None:
        """Have every row on the disk, also one that could not be written when it came.

        Raises:
            StorageError: if it still cannot.
        """
        if not self._whole:
            self._rewrite()

    def close(self) -> None:
        """Nothing: every row is on the disk."""

    def _rewrite(self) -> None:
        write_atomically(self._path, "".join(_line(row) for row in self.rows).encode())
        self._whole = True


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(dict(row), sort_keys=True, allow_nan=False) + "\n"
