"""A batch of inputs: a mapping (the model's keywords), a tuple (its first entry goes in, labels follow) or a tensor.

Samples come first in every tensor. It holds no data of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from secagg.errors import SottoError

__all__ = ["batch_size", "forward", "rows_of"]


def forward(model: nn.Module, inputs: Any) -> Any:
    """Run the model: keywords for a mapping, the first entry of a tuple, else the value itself."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(inputs[0] if isinstance(inputs, tuple) else inputs)


def batch_size(inputs: Any) -> int:
    """Number of samples.

    Raises:
        SottoError: if there is no tensor to count.
    """
    for value in _values(inputs):
        if isinstance(value, Tensor) and value.dim():
            return int(value.shape[0])
    raise SottoError("a batch has no tensor; allowed: a mapping, a tuple or a tensor, samples first")


def rows_of(inputs: Any, start: int, stop: int) -> Any:
    """The samples `start..stop-1` of a batch; what is not a tensor of the batch's size is passed on whole."""
    size = batch_size(inputs)

    def rows(value: Any) -> Any:
        return value[start:stop] if isinstance(value, Tensor) and value.dim() and value.shape[0] == size else value

    if isinstance(inputs, Mapping):
        return {name: rows(value) for name, value in inputs.items()}
    if isinstance(inputs, tuple):
        return tuple(rows(value) for value in inputs)
    return rows(inputs)


def _values(inputs: Any) -> list[Any]:
    if isinstance(inputs, Mapping):
        return list(inputs.values())
    return list(inputs) if isinstance(inputs, tuple) else [inputs]
