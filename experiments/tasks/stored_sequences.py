"""Sequences as a model's inputs, with the results of its frozen blocks where they are kept.

Takes sequences and a model; gives batches. States depend on the frozen weights and the sequences alone, so the runs of
a sweep, which follow each other in one process, share them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from peft import PeftModel
from torch import Tensor

from experiments.language.sequences import Sequences
from fl_core.broadcast import frozen_digest
from fl_core.frozen_prefix import PREFIX_STATES, FrozenPrefix

__all__ = ["FrozenStates", "StoredSequences"]

_BATCH = 256
_KEPT_SETS = 2  # a run needs two: its clients' and the test users'
_kept: dict[str, Tensor] = {}


class FrozenStates:
    """Computes, and remembers, what the frozen blocks make of sequences.

    Args:
        prefix: the model's frozen blocks; None where nothing can be skipped.
        model: whose frozen weights name the states.
        most_gib: states that would take more are not kept, and then computed in every round.
        on_progress: told in words what takes long.
    """

    def __init__(
        self, prefix: FrozenPrefix | None, model: PeftModel, most_gib: float, on_progress: Callable[[str], None]
    ) -> None:
        self._prefix, self._most, self._say = prefix, most_gib, on_progress
        self._model = model
        self._weights = "" if prefix is None else frozen_digest(model)

    def of(self, ids: Tensor, device: torch.device) -> Tensor | None:
        """States float32 `[n, t, d]` on the CPU for ids `[n, t]`, or None where they are not kept."""
        if self._prefix is None:
            return None
        width = int(self._model.get_base_model().config.hidden_size)
        need = ids.numel() * width * 4 / 2**30
        if need > self._most:
            self._say(f"frozen states would take {need:.1f} GiB (engine.features_gib {self._most:g}): not kept")
            return None
        content = hashlib.sha256(ids.numpy().tobytes()).hexdigest()
        key = f"{self._weights}|{self._prefix.skipped}|{tuple(ids.shape)}|{content}"
        if key not in _kept:
            while len(_kept) >= _KEPT_SETS:
                _kept.pop(next(iter(_kept)))  # before the new ones are made: memory for both may not be there
            _kept[key] = self._computed(ids, width, device)
        return _kept[key]

    def _computed(self, ids: Tensor, width: int, device: torch.device) -> Tensor:
        assert self._prefix is not None
        states = torch.empty(*ids.shape, width)
        for start in range(0, len(ids), _BATCH):
            self._say(f"computing the frozen blocks: {start:,} of {len(ids):,} sequences")
            some = ids[start : start + _BATCH].to(device)
            states[start : start + _BATCH] = self._prefix.states({"input_ids": some}).cpu()
        return states


class StoredSequences:
    """Batches of some of the sequences.

    Args:
        sequences: all of them.
        rows: int64, ascending: the ones that batches may name.
        states: of the frozen blocks.
        device: where batches go.
    """

    def __init__(
        self, sequences: Sequences, rows: NDArray[np.int64], states: FrozenStates, device: torch.device
    ) -> None:
        self._rows, self._device = rows, device
        self._ids = torch.from_numpy(sequences.ids[rows].astype(np.int64))
        self._labels = torch.from_numpy(sequences.labels()[rows])
        self._states = states.of(self._ids, device)

    def batch(self, records: NDArray[np.int64]) -> dict[str, Tensor]:
        """Inputs of some sequences by their numbers: `input_ids`, `labels` and, where kept, `prefix_states`."""
        place = torch.from_numpy(np.searchsorted(self._rows, records))
        inputs = {"input_ids": self._ids[place], "labels": self._labels[place]}
        if self._states is not None:
            inputs[PREFIX_STATES] = self._states[place]
        return {name: value.to(self._device) for name, value in inputs.items()}

    def batches(self, rows: NDArray[np.int64], size: int) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        """Inputs and labels of `rows`, `size` at a time."""
        for start in range(0, len(rows), size):
            inputs = self.batch(rows[start : start + size])
            yield inputs, inputs.pop("labels")
