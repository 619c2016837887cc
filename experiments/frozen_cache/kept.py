"""Which results of frozen layers are kept, and where: on disk, in memory, or not at all.

Rules: what needs more than `engine.features_gib` is not kept; small results stay in memory, where computing them
again costs less than a file is worth; the rest goes to disk, or to memory if the configuration or the disk wants it
so. Results are the same bits wherever they come from. It must never fail because of the cache: a disk that is full,
read only or damaged costs a warning and time.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from experiments.cache_root import cache_root
from experiments.frozen_cache.row_file import Damaged, RowFile, write_rows
from experiments.frozen_cache.row_store import RowStore
from experiments.frozen_cache.work import FrozenWork
from fl_core.config import EngineConfig

__all__ = ["FrozenCache", "KeptRows"]

_SMALL = 16 * 2**20  # bytes: computed in a second or two
_SETS_IN_MEMORY = 2  # a run needs two: its clients' and the test users'
_WAIT_S = 0.2
_in_memory: dict[str, Tensor] = {}  # shared by the runs of a sweep, which follow each other in one process


class FrozenCache:
    """Gives results of frozen layers by record.

    Args:
        engine: `features` and `features_gib`.
        on_progress: told in words what takes long.
        folder: of the files; default `cache_root() / "frozen"`.
    """

    def __init__(self, engine: EngineConfig, on_progress: Callable[[str], None], folder: Path | None = None) -> None:
        self._engine, self._say = engine, on_progress
        most = int(engine.features_gib * 2**30)
        self._store = RowStore(cache_root() / "frozen" if folder is None else folder, most)

    def of(self, work: FrozenWork) -> KeptRows | None:
        """Results of all records of a work, or None if they need more room than was granted.

        Warns:
            RuntimeWarning: the disk cannot be used, or held a damaged file.
        """
        if work.bytes > self._engine.features_gib * 2**30:
            self._say(
                f"{work.what} would take {work.bytes / 2**30:.1f} GiB "
                f"(engine.features_gib {self._engine.features_gib:g}): not kept, computed in every round"
            )
            return None
        return KeptRows(self, work)

    def rows(self, work: FrozenWork, key: str) -> Tensor | RowFile:
        """Results from where they are kept, or newly computed."""
        if key in _in_memory or self._engine.features == "memory" or work.bytes < _SMALL:
            return self.computed(work, key)
        try:
            return self._on_disk(work, key)
        except OSError as error:
            warnings.warn(
                f"{work.what} are kept in memory, as {self._store.folder} cannot be used: {error.strerror or error}",
                RuntimeWarning,
                stacklevel=2,
            )
            return self.computed(work, key)

    def computed(self, work: FrozenWork, key: str) -> Tensor:
        """Results in memory, of this process's earlier runs or new."""
        if key not in _in_memory:
            while len(_in_memory) >= _SETS_IN_MEMORY:
                _in_memory.pop(next(iter(_in_memory)))  # before the new ones: memory for both may not be there
            results, done = torch.empty(work.shape), 0
            for part in work.results(self._say):
                results[done : done + len(part)] = part
                done += len(part)
            _in_memory[key] = results
        return _in_memory[key]

    def remove(self, work: FrozenWork, error: Damaged) -> None:
        """Take a damaged file away and say so.

        Raises:
            OSError: if it cannot be removed.
        """
        warnings.warn(
            f"{error.path} is damaged and {work.what} are computed again: {error}", RuntimeWarning, stacklevel=2
        )
        self._store.remove(error.path)

    def _on_disk(self, work: FrozenWork, key: str) -> RowFile:
        written = False
        while True:
            try:
                return self._store.open(key, work.shape)
            except FileNotFoundError:
                pass
            except Damaged as error:
                self.remove(work, error)
                if written:
                    raise OSError("it does not keep what is written") from None
            with self._store.writing(key, work.shape) as stream:
                if stream is not None:
                    write_rows(stream, key, work.shape, work.results(self._say))
                    written = True
            if stream is None:
                self._say(f"waiting for another process, which is computing {work.what}")
                if not self._store.is_progressing(key):
                    raise TimeoutError("another process began to write there and does not go on")
                time.sleep(_WAIT_S)


class KeptRows:
    """Results of a work, wherever they are.

    Args:
        cache: which gives them.
        work: what they are of.
    """

    def __init__(self, cache: FrozenCache, work: FrozenWork) -> None:
        self._cache, self._work, self._key = cache, work, work.name()
        self._rows = cache.rows(work, self._key)

    def take(self, numbers: NDArray[np.int64]) -> Tensor:
        """A copy of the results of some records by their numbers, float32 `[len(numbers), *row]` on the CPU.

        Warns:
            RuntimeWarning: the file was damaged since it was written; the results are computed again.
        """
        if isinstance(self._rows, RowFile):
            try:
                return self._rows.take(numbers)
            except Damaged as error:
                with contextlib.suppress(OSError):
                    self._cache.remove(self._work, error)
                self._rows = self._cache.computed(self._work, self._key)  # in memory: that disk is not to be trusted
        return self._rows[torch.from_numpy(numbers)]
