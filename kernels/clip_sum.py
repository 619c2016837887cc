"""Clip every sample's gradient and sum, per client, in floats or exactly in integers.

Takes one flat gradient per sample and gives one vector per segment (client). In integer mode each sample is
clipped, scaled, truncated toward zero and its integer norm checked exactly *before* any sum, so that one sample
moves a sum by an integer vector of L2 norm at most `clip_norm * scale`: the sensitivity that the discrete
mechanisms' theorems need. A sample with a non-finite value contributes exactly zero and is counted.
It must never add noise and never let a non-finite number into a sum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["ClipSum", "clip_and_sum", "clip_and_sum_counted"]

# Products of a float32/float64 gradient with its clip factor are rounded; the margin keeps the truncated vector's
# exact integer norm inside the bound almost always, so that the exact check below rarely has to shrink a sample.
_SAFETY = 1.0 - 2.0**-20
# Coordinates worked on at a time, so that a block and its float64 copy stay in the processor's cache.
_BLOCK = 2**17


@dataclass(frozen=True)
class ClipSum:
    """Sums of clipped gradients.

    Attributes:
        total: `[p]` or `[segments, p]`; int64 in integer mode, else the gradients' dtype (at least float32).
        clipped: number of samples whose norm was above the clip norm.
        nonfinite: number of samples that contributed zero because a value or norm was not finite.
    """

    total: Tensor
    clipped: int
    nonfinite: int


def clip_and_sum(
    grads: Tensor,
    sq_norms: Tensor,
    clip_norm: float,
    segments: Tensor | None = None,
    scale: float | None = None,
    num_segments: int | None = None,
) -> Tensor:
    """Sum of the samples' gradients, each weighted by `min(1, clip_norm / norm)`.

    Args:
        grads: `[b, p]`, one flat gradient per sample.
        sq_norms: `[b]`, squared L2 norms of the rows of `grads`.
        clip_norm: L2 bound C > 0 of one sample's contribution.
        segments: optional int64 `[b]`, the segment (client) of each sample, in `0..num_segments-1`.
        scale: optional grid steps per unit; with it the sum is int64, of samples truncated to integers whose L2
            norm is at most `floor(clip_norm * scale)`.
        num_segments: number of segments; default `segments.max() + 1`.

    Returns:
        `[p]`, or `[num_segments, p]` with `segments`.

    Raises:
        ValueError: for shapes that do not fit, a clip norm or scale that is not positive and finite, or a bound
            `clip_norm * scale` outside 1..2^40.
    """
    return clip_and_sum_counted(grads, sq_norms, clip_norm, segments, scale, num_segments).total


def clip_and_sum_counted(
    grads: Tensor,
    sq_norms: Tensor,
    clip_norm: float,
    segments: Tensor | None = None,
    scale: float | None = None,
    num_segments: int | None = None,
) -> ClipSum:
    """As `clip_and_sum`, with the counts of clipped and of non-finite samples."""
    _check(grads, sq_norms, clip_norm, segments, scale)
    norms = sq_norms.to(torch.float64).sqrt()
    factors = torch.clamp(clip_norm / norms.clamp_min(torch.finfo(torch.float64).tiny), max=1.0)
    count = 1 if segments is None else _segment_count(segments, num_segments)
    dtype = torch.promote_types(grads.dtype, torch.float32) if scale is None else torch.int64
    total = torch.zeros(count, grads.shape[1], dtype=dtype, device=grads.device)
    nonfinite = 0
    step = max(1, _BLOCK // max(1, grads.shape[1]))
    for start in range(0, grads.shape[0], step):
        part = slice(start, start + step)
        block, weights = grads[part], factors[part]
        finite = torch.isfinite(norms[part]) & torch.isfinite(block).all(1)
        bad = int((~finite).sum())
        if bad:
            nonfinite += bad
            # 0 * inf is nan, so the row itself must go, not only its weight.
            block = torch.where(finite[:, None], block, torch.zeros_like(block))
            weights = torch.where(finite, weights, torch.zeros_like(weights))
        if scale is None:
            rows = block.to(dtype) * weights[:, None].to(dtype)
        else:
            rows = _to_integers(block, weights, clip_norm, scale)
        if segments is None:
            total[0] += rows.sum(0)
        else:
            total.index_add_(0, segments[part], rows)
    clipped = int((torch.isfinite(norms) & (norms > clip_norm)).sum())
    return ClipSum(total[0] if segments is None else total, clipped, nonfinite)


def _to_integers(grads: Tensor, factors: Tensor, clip_norm: float, scale: float) -> Tensor:
    """Scaled and truncated samples, int64 `[b, p]`, every row's exact integer norm at most floor(C * s)."""
    bound = math.floor(clip_norm * scale)
    # A sample below the clip norm keeps its length up to the margin, which only matters near the bound.
    rows = grads.to(torch.float64, copy=True).mul_((factors * scale * _SAFETY)[:, None]).trunc_()
    # Whole numbers below 2^53 in float64: the sum of squares errs by far less than 2^-24 relative, so a row that is
    # further below the bound is inside it for certain; the others are decided in Python's exact integers.
    square = torch.linalg.vector_norm(rows, dim=1).square()
    for index in torch.nonzero(square > float(bound) ** 2 * (1 - 2.0**-24)).flatten().tolist():
        rows[index] = _shrink(rows[index], bound)
    return rows.to(torch.int64)


def _exact_square(row: Tensor) -> int:
    return sum(int(v) ** 2 for v in row.tolist())


def _shrink(row: Tensor, bound: int) -> Tensor:
    """A row of whole float64 numbers, shortened toward zero until its exact norm is at most `bound`."""
    square = _exact_square(row)
    while square > bound * bound:
        row = (row * (bound / math.sqrt(square) * (1 - 2.0**-20))).trunc()
        square = _exact_square(row)
    return row


def _segment_count(segments: Tensor, num_segments: int | None) -> int:
    if num_segments is not None:
        return num_segments
    return int(segments.max()) + 1 if segments.numel() else 0


def _check(grads: Tensor, sq_norms: Tensor, clip_norm: float, segments: Tensor | None, scale: float | None) -> None:
    if grads.dim() != 2:
        raise ValueError(f"grads must be [b, p], got shape {tuple(grads.shape)}")
    if sq_norms.shape != grads.shape[:1]:
        raise ValueError(f"sq_norms must be [{grads.shape[0]}], got shape {tuple(sq_norms.shape)}")
    if not (math.isfinite(clip_norm) and clip_norm > 0):
        raise ValueError(f"clip_norm must be positive and finite, got {clip_norm}")
    if segments is not None and segments.shape != grads.shape[:1]:
        raise ValueError(f"segments must be [{grads.shape[0]}], got shape {tuple(segments.shape)}")
    if scale is not None and not (math.isfinite(scale) and 1 <= clip_norm * scale <= 2**40):
        raise ValueError(f"clip_norm * scale must be in 1..2^40 grid steps, got {clip_norm} * {scale}")
