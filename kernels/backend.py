"""Which implementation runs: Triton kernels on a GPU, vectorised PyTorch elsewhere.

One rule for every operation, by the device of its tensors. Tests force Triton on CPU tensors, which needs its
interpreter (`TRITON_INTERPRET=1` before the first import of triton).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = ["kernel_backend", "runs_triton"]

_CHOICES = ("auto", "torch", "triton")
# A plain global: autograd may run a backward pass in another thread than the one that asked.
_choice = "auto"


def runs_triton(tensor: Tensor) -> bool:
    """Whether operations on `tensor` run as Triton kernels."""
    if _choice == "auto":
        return tensor.device.type == "cuda"
    return _choice == "triton"


@contextmanager
def kernel_backend(name: str) -> Iterator[None]:
    """Force one implementation within the block: "torch", "triton" or "auto" (by device).

    Raises:
        ValueError: for another name, or "triton" on a machine with neither a GPU nor the interpreter.
    """
    global _choice
    if name not in _CHOICES:
        raise ValueError(f"kernel backend is {name!r}; allowed: {', '.join(_CHOICES)}")
    if name == "triton" and not _triton_can_run():
        raise ValueError("Triton kernels need a GPU, or TRITON_INTERPRET=1 before Python starts")
    before, _choice = _choice, name
    try:
        yield
    finally:
        _choice = before


def _triton_can_run() -> bool:
    return torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1"
