"""Where a run's numbers go: `metrics.jsonl` and TensorBoard.

Only what was released is written as a metric: scores on public test data, epsilons, counts of survivors, bytes and
seconds. Simulation diagnostics (clipped samples, private losses) carry the prefix `simulation/`, because in a
deployment nobody could see them.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fl_core.run_folder import RunFolder, StorageError, storage_errors, write_atomically

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["Tracker", "read_metrics", "summary_writer"]


def read_metrics(path: Path, count: str = "round") -> list[dict[str, Any]]:
    """Rounds recorded so far, oldest first; a torn last line (a crash while writing) is left out.

    Args:
        path: the file; none is no rounds.
        count: what rows are counted by.

    Raises:
        StorageError: if the file cannot be read, or a line before the last is not a row as `Tracker` writes it.
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


class Tracker:
    """Appends rows for rounds; on resume, rows after the checkpoint are dropped because their rounds run again.

    Args:
        folder: the run folder.
        done: rounds that the checkpoint holds.

    Attributes:
        recorded: rows so far.
    """

    def __init__(self, folder: RunFolder, done: int) -> None:
        self._path, self._tensorboard = folder.metrics_path, folder.tensorboard
        rows = [row for row in read_metrics(self._path) if row["round"] <= done]
        self.recorded = len(rows)
        # Bytes of the file that are whole, and lines after them that are not known to be. Rows are not kept: a run has
        # as many as it has rounds.
        self._length, self._pending = 0, [_line(row) for row in rows]
        self._rewrite()
        self._board = summary_writer(folder.tensorboard, done)

    def record(self, row: Mapping[str, Any]) -> None:
        """Append one round's row (strict JSON numbers and strings).

        Raises:
            StorageError: if it cannot be written, or what came before cannot be shown; `settle` tries again.
        """
        self._pending.append(_line(row))
        self.recorded += 1
        if len(self._pending) > 1:
            self._rewrite()
        else:
            with storage_errors(self._path), self._path.open("ab") as handle:
                handle.write(self._pending[0])
                handle.flush()
                os.fsync(handle.fileno())
            self._settled()
        with storage_errors(self._tensorboard):
            for key, value in row.items():
                if isinstance(value, int | float) and not isinstance(value, bool) and key != "round":
                    self._board.add_scalar(key, value, row["round"])

    def settle(self) -> None:
        """Have every row on the disk, also one that could not be written when it came.

        Raises:
            StorageError: if it still cannot.
        """
        if self._pending:
            self._rewrite()

    def close(self) -> None:
        """Flush TensorBoard."""
        with storage_errors(self._tensorboard):
            self._board.close()

    def _rewrite(self) -> None:
        whole = b""
        if self._length:
            with storage_errors(self._path):
                whole = self._path.read_bytes()[: self._length]
        write_atomically(self._path, b"".join((whole, *self._pending)))
        self._settled()

    def _settled(self) -> None:
        self._length += sum(map(len, self._pending))
        self._pending.clear()


def _line(row: Mapping[str, Any]) -> bytes:
    return (json.dumps(dict(row), sort_keys=True, allow_nan=False) + "\n").encode()


def summary_writer(folder: Path, done: int) -> SummaryWriter:
    """TensorBoard events in `folder`, those after step `done` purged.

    Its methods raise OSError when the disk is full or not writable.
    """
    # tensorboard logs about missing optional parts at import; nothing of it concerns the user of a run.
    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    from torch.utils.tensorboard import SummaryWriter

    _hush_writers()
    with storage_errors(folder):
        return SummaryWriter(str(folder), purge_step=done + 1 if done else None)


def _hush_writers() -> None:
    """Keep threads that write events from printing a traceback for a full disk.

    The next call of their `SummaryWriter` raises the same error, which becomes a sentence there.
    """
    from tensorboard.summary.writer.event_file_writer import _AsyncWriterThread

    before = threading.excepthook
    if getattr(before, "hushes_writers", False):
        return

    def hook(failed: threading.ExceptHookArgs) -> None:
        if not (isinstance(failed.thread, _AsyncWriterThread) and isinstance(failed.exc_value, OSError)):
            before(failed)

    hook.hushes_writers = True  # type: ignore[attr-defined]
    threading.excepthook = hook
