"""Where the per-sample gradients of a batch are: in one flat buffer if it fits, else made again when they are summed.

Both stores have the same methods and give the same results; a budget of bytes chooses between them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from kernels.gradient_buffer import GradientBuffer, parameter_offsets
from kernels.recomputed_gradients import RecomputedGradients

__all__ = ["GradientStore", "gradient_store"]

GradientStore = GradientBuffer | RecomputedGradients


def gradient_store(
    shapes: Sequence[tuple[int, ...]], batch: int, dtype: torch.dtype, device: torch.device, budget: int
) -> GradientStore:
    """The store for a batch: the flat buffer if its `b p` numbers fit into `budget` bytes, else recomputation.

    Materialising wins whenever it fits: it reads the activations once and frees them at once, and its extra traffic
    is 4 r / T of theirs (float32); recomputation reads them twice and keeps all layers' output gradients until the end.

    Args:
        shapes: shape of every trainable parameter, in the flat vector's order.
        batch: number of samples b.
        dtype: of the gradients (at least float32).
        device: where the batch is.
        budget: bytes that the flat buffer may take.
    """
    if batch * parameter_offsets(shapes)[1] * dtype.itemsize <= budget:
        return GradientBuffer(shapes, batch, dtype, device)
    return RecomputedGradients(shapes, batch, dtype, device)
