"""Sequences as a model's inputs, with the results of its frozen blocks where they are kept.

Takes sequences and a model; gives batches. States depend on the frozen network and the sequences alone, so all runs
share them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedConfig
from transformers import __version__ as version

from experiments.frozen_cache import FrozenCache, FrozenWork, KeptRows
from experiments.language.sequences import Sequences
from fl_core.frozen_prefix import PREFIX_STATES, FrozenPrefix

__all__ = ["FrozenStates", "StoredSequences"]

_AT_ONCE = 256


class FrozenStates:
    """Gives what the frozen blocks make of sequences.

    Args:
        prefix: the model's frozen blocks; None where nothing can be skipped.
        model: whose blocks they are.
        weights: digest of its base.
        cache: keeps the states.
        device: where they are computed.
    """

    def __init__(
        self,
        prefix: FrozenPrefix | None,
        model: PeftModel,
        weights: str,
        cache: FrozenCache,
        device: torch.device,
    ) -> None:
        self._prefix, self._model, self._weights = prefix, model, weights
        self._cache, self._device = cache, device

    def of(self, ids: Tensor) -> KeptRows | None:
        """States that enter the first adapted block for ids `[n, t]`, each `[t, d]`; None where they are not kept."""
        if self._prefix is None:
            return None
        config = self._model.get_base_model().config
        work = FrozenWork(
            what="the frozen blocks",
            records="sequences",
            weights=self._weights,
            place=f"into block {self._prefix.skipped} of {_architecture(config)}",
            data=ids,
            row=(ids.shape[1], int(config.hidden_size)),
            at_once=_AT_ONCE,
            device=self._device,
            compute=self._states,
        )
        return self._cache.of(work)

    def _states(self, ids: Tensor) -> Tensor:
        assert self._prefix is not None
        return self._prefix.states({"input_ids": ids.to(self._device)})


def _architecture(config: PreTrainedConfig) -> str:
    """All that a network's configuration and its code add to its weights: heads, activations, positions."""
    settings = {key: value for key, value in config.to_dict().items() if key != "_name_or_path"}  # a folder may move
    kind = f"{type(config).__name__} {getattr(config, '_attn_implementation', '')} transformers {version}"
    return f"{kind} {json.dumps(settings, sort_keys=True, default=str)}"


class StoredSequences:
    """Batches of some of the sequences.

    Args:
        sequences: all of them.
        rows: int64, ascending: the ones that batches may name.
        states: of the frozen blocks; kept in the order of users, so that those of a user are one slice.
        device: where batches go.
    """

    def __init__(
        self, sequences: Sequences, rows: NDArray[np.int64], states: FrozenStates, device: torch.device
    ) -> None:
        self._device = device
        by_user = rows[np.argsort(sequences.users[rows], kind="stable")]
        self._places = np.full(len(sequences.ids), len(rows))  # no place: a number that no batch may name is an error
        self._places[by_user] = np.arange(len(by_user))
        self._ids = torch.from_numpy(sequences.ids[by_user].astype(np.int64))
        self._labels = torch.from_numpy(sequences.labels()[by_user])
        self._states = states.of(self._ids)

    def batch(self, records: NDArray[np.int64]) -> dict[str, Tensor]:
        """Inputs of some sequences by their numbers: `input_ids`, `labels` and, where kept, `prefix_states`."""
        places = self._places[records]
        place = torch.from_numpy(places)
        inputs = {"input_ids": self._ids[place], "labels": self._labels[place]}
        if self._states is not None:
            inputs[PREFIX_STATES] = self._states.take(places)
        return {name: value.to(self._device) for name, value in inputs.items()}

    def batches(self, rows: NDArray[np.int64], size: int) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        """Inputs and labels of `rows`, `size` at a time."""
        for start in range(0, len(rows), size):
            inputs = self.batch(rows[start : start + size])
            yield inputs, inputs.pop("labels")
