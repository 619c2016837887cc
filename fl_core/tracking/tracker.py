"""Who is told of a run's rounds: one protocol, and all trackers of a run behind one.

The metrics file comes first and is the record. TensorBoard's events lie beside it. Services outside of the run folder
are told public numbers alone, and their failures never end a run.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Protocol

from fl_core.first_line import first_line
from fl_core.run_folder import RunFolder
from fl_core.tracking.metrics_file import MetricsFile
from fl_core.tracking.rows import public
from fl_core.tracking.tensorboard import TensorBoard

__all__ = ["Outside", "RunTracker", "Tracker"]

logger = logging.getLogger(__name__)


class Tracker(Protocol):
    """Whoever is told of rounds."""

    def record(self, row: Mapping[str, Any]) -> None:
        """A round is done; `row` has its number as `round`."""

    def close(self) -> None:
        """No more rounds come in this session."""


class Outside:
    """A tracker outside of the run folder: it gets public numbers alone, and is left out once it fails.

    Args:
        name: of the service, for the sentence that says so.
        inner: the tracker.
    """

    def __init__(self, name: str, inner: Tracker) -> None:
        self._name, self._inner, self._failed = name, inner, False

    def record(self, row: Mapping[str, Any]) -> None:
        """Hand over the row's public numbers."""
        if not self._failed:
            self._try(self._inner.record, {"round": row["round"], **public(row)})

    def close(self) -> None:
        """Close it, also when it failed before."""
        self._try(self._inner.close)

    def _try(self, call: Any, *arguments: Any) -> None:
        try:
            call(*arguments)
        except Exception as error:  # a service may raise anything, and the run has spent its epsilon whatever it says
            if not self._failed:
                said = first_line(error)
                logger.warning("%s is left out from now on (%s); metrics.jsonl has every round", self._name, said)
            self._failed = True


class RunTracker:
    """All trackers of a run.

    Args:
        folder: the run folder.
        done: rounds that the checkpoint holds; rows after them are dropped, because their rounds run again.
        outside: trackers of services.
    """

    def __init__(self, folder: RunFolder, done: int, outside: Sequence[Tracker] = ()) -> None:
        self._file = MetricsFile(folder.metrics_path, done)
        self._all: tuple[Tracker, ...] = (self._file, TensorBoard(folder.tensorboard, done), *outside)

    @property
    def recorded(self) -> int:
        """Rows so far, those of earlier sessions included."""
        return self._file.recorded

    def record(self, row: Mapping[str, Any]) -> None:
        """Tell everybody of one round (strict JSON numbers and strings).

        Raises:
            StorageError: if it cannot be written, or what came before cannot be shown; `settle` tries again.
        """
        for tracker in self._all:
            tracker.record(row)

    def add(self, number: int, scores: Mapping[str, float]) -> None:
        """Tell everybody more of round `number`, the one that came last.

        Raises:
            StorageError: if it cannot be written.
        """
        self._file.add(scores)
        for tracker in self._all[1:]:
            tracker.record({"round": number, **scores})

    def settle(self) -> None:
        """Have every row on the disk, also one that could not be written when it came.

        Raises:
            StorageError: if it still cannot.
        """
        self._file.settle()

    def close(self) -> None:
        """Close all of them, whichever fails."""
        with ExitStack() as ends:
            for tracker in reversed(self._all):
                ends.callback(tracker.close)
