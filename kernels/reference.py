"""The specification, in float64 and one sample at a time: slow, plain, and what every kernel is tested against.

It must never be made faster: its worth is that it can be checked by eye.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["reference_clip_and_sum", "reference_lora_per_sample_grads"]


def reference_lora_per_sample_grads(
    x: Tensor, grad_y: Tensor, A: Tensor, B: Tensor, scaling: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Float64 per-sample LoRA gradients; shapes as `kernels.lora_per_sample_grads`."""
    x, grad_y, A, B = (tensor.to(torch.float64) for tensor in (x, grad_y, A, B))
    grads_A, grads_B, norms = [], [], []
    for sample_x, sample_g in zip(x, grad_y, strict=True):
        grad_A = torch.zeros_like(A)
        grad_B = torch.zeros_like(B)
        for position in range(sample_x.shape[0]):
            h = A @ sample_x[position]
            u = scaling * (B.T @ sample_g[position])
            grad_A += torch.outer(u, sample_x[position])
            grad_B += scaling * torch.outer(sample_g[position], h)
        grads_A.append(grad_A)
        grads_B.append(grad_B)
        norms.append(grad_A.square().sum() + grad_B.square().sum())
    return torch.stack(grads_A), torch.stack(grads_B), torch.stack(norms)


def reference_clip_and_sum(
    grads: Tensor, clip_norm: float, segments: Tensor | None = None, scale: int | None = None
) -> Tensor:
    """Float64 (or exact integer) sum of clipped rows, one row at a time, in Python numbers.

    In integer mode a row is clipped, scaled and truncated; the result then has an integer norm of at most
    `floor(clip_norm * scale)`. Kernels may shorten a row by a relative 2^-20 more, never less.
    """
    count = 1 if segments is None else int(segments.max()) + 1
    totals = [[0.0 if scale is None else 0] * grads.shape[1] for _ in range(count)]
    for index, row in enumerate(grads.to(torch.float64).tolist()):
        if not all(math.isfinite(v) for v in row):
            continue
        norm = math.sqrt(math.fsum(v * v for v in row))
        weight = min(1.0, clip_norm / norm) if norm else 1.0
        segment = 0 if segments is None else int(segments[index])
        for k, value in enumerate(row):
            totals[segment][k] += value * weight if scale is None else int(value * weight * scale)
    result = torch.tensor(totals, dtype=torch.float64 if scale is None else torch.int64)
    return result[0] if segments is None else result
