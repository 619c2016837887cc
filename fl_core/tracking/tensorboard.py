"""TensorBoard events in the run folder, those of a simulation's own eyes included: they stay on this machine.

Nobody but their owner may read them.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fl_core.storage import storage_errors
from fl_core.tracking.rows import numbers

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["TensorBoard", "summary_writer"]


class TensorBoard:
    """Writes every number of a row.

    Args:
        folder: where the events go.
        done: rounds that the checkpoint holds; events after it are purged.
    """

    def __init__(self, folder: Path, done: int) -> None:
        self._folder = folder
        with storage_errors(folder):
            folder.mkdir(0o700, exist_ok=True)
            folder.chmod(0o700)  # whatever it was
        self._board = summary_writer(folder, done)

    def record(self, row: Mapping[str, Any]) -> None:
        """Add one round's numbers.

        Raises:
            StorageError: if what came before could not be written.
        """
        with storage_errors(self._folder):
            for key, value in numbers(row).items():
                self._board.add_scalar(key, value, row["round"])

    def close(self) -> None:
        """Flush; raises StorageError if that cannot be."""
        with storage_errors(self._folder):
            self._board.close()


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
