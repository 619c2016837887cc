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
# Squares of int64 coordinates up to 2^31 fit int64; the sum of squares of one sample is checked in these bounds.
_EXACT_LIMIT = 2**31


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
    finite = torch.isfinite(norms) & torch.isfinite(grads).all(1)
    factors = torch.where(
        finite, torch.clamp(clip_norm / norms.clamp_min(torch.finfo(torch.float64).tiny), max=1.0), 0.0
    )
    clipped = int((finite & (norms > clip_norm)).sum())
    nonfinite = int((~finite).sum())
    if nonfinite:
        # 0 * inf is nan, so the row itself must go, not only its weight.
        grads = torch.where(finite[:, None], grads, torch.zeros_like(grads))
    if scale is None:
        dtype = torch.promote_types(grads.dtype, torch.float32)
        rows = grads.to(dtype) * factors[:, None].to(dtype)
    else:
        rows = _to_integers(grads, factors, clip_norm, scale)
    return ClipSum(_segment_sum(rows, segments, num_segments), clipped, nonfinite)


def _to_integers(grads: Tensor, factors: Tensor, clip_norm: float, scale: float) -> Tensor:
    """Scaled and truncated samples, int64 `[b, p]`, every row's exact integer norm at most floor(C * s)."""
    bound = math.floor(clip_norm * scale)
    # A sample below the clip norm keeps its length; the margin only matters near the bound.
    weights = (factors * scale * _SAFETY)[:, None]
    rows = (grads.to(torch.float64) * weights).trunc().to(torch.int64)
    for index in _rows_above(rows, bound):
        rows[index] = _shrink(rows[index], bound)
    return rows


def _rows_above(rows: Tensor, bound: int) -> list[int]:
    """Indices of rows whose exact integer L2 norm is above `bound`."""
    if rows.numel() == 0:
        return []
    # Exact in int64 while every partial sum stays below 2^63; a wider row is summed in Python integers.
    approximate = rows.to(torch.float64).square().sum(1)
    if bound < _EXACT_LIMIT and float(approximate.max()) < 2.0**62:
        return torch.nonzero(rows.square().sum(1) > bound * bound).flatten().tolist()
    # float64 sums of squares err by less than 2^-40 relative, so only rows near the bound need exact integers.
    near = torch.nonzero(approximate > float(bound) ** 2 * (1 - 2.0**-30)).flatten().tolist()
    return [i for i in near if _exact_square(rows[i]) > bound * bound]


def _exact_square(row: Tensor) -> int:
    return sum(int(v) * int(v) for v in row.tolist())


def _shrink(row: Tensor, bound: int) -> Tensor:
    """`row` shortened toward zero until its exact integer L2 norm is at most `bound`."""
    square = _exact_square(row)
    while square > bound * bound:
        ratio = bound / math.sqrt(square) * (1 - 2.0**-20)
        row = (row.to(torch.float64) * ratio).trunc().to(torch.int64)
        square = _exact_square(row)
    return row


def _segment_sum(rows: Tensor, segments: Tensor | None, num_segments: int | None) -> Tensor:
    if segments is None:
        return rows.sum(0)
    count = num_segments if num_segments is not None else (int(segments.max()) + 1 if segments.numel() else 0)
    total = torch.zeros(count, rows.shape[1], dtype=rows.dtype, device=rows.device)
    return total.index_add_(0, segments, rows)


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
