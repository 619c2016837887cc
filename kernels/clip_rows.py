"""Clip every row and round it to the grid, each by itself: contributions that are not summed here.

Takes one flat vector per contributor; gives as many integer vectors, by exactly the steps of `kernels.clip_sum`'s
integer mode: clip, scale, truncate toward zero, check the integer norm. A row with a non-finite value, or whose norm
fails the check, becomes zeros and is counted. Rows are never added here, nor noise to them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from kernels.backend import runs_triton
from kernels.clip_sum import ClipSum, certainly_inside, check_arguments, clip_and_sum_counted, clip_weights

__all__ = ["clip_rows"]

# Coordinates worked on at a time, so that a block and its float64 copy stay in the processor's cache.
_BLOCK = 2**16


def clip_rows(rows: Tensor, sq_norms: Tensor, clip_norm: float, scale: float) -> ClipSum:
    """Each row times `min(1, clip_norm / norm)` in grid steps, as whole numbers of L2 norm at most `clip_norm * scale`.

    Args:
        rows: `[b, p]`.
        sq_norms: `[b]`, squared L2 norms of the rows.
        clip_norm: L2 bound C > 0 of one row.
        scale: grid steps per unit.

    Returns:
        `total` is int64 `[b, p]`.

    Raises:
        ValueError: as `kernels.clip_sum.clip_and_sum`.
    """
    if rows.dim() != 2:
        raise ValueError(f"rows must be [b, p], got shape {tuple(rows.shape)}")
    check_arguments(rows.shape[0], sq_norms, clip_norm, None, scale, None)
    if runs_triton(rows):
        own = torch.arange(rows.shape[0], device=rows.device)
        return clip_and_sum_counted(rows, sq_norms, clip_norm, own, scale, rows.shape[0])
    norms, bound = sq_norms.to(torch.float64).sqrt(), math.floor(clip_norm * scale)
    weights = clip_weights(norms, bound, scale)
    total = torch.empty(rows.shape, dtype=torch.int64, device=rows.device)
    square = torch.zeros_like(norms)
    length = rows.shape[1]
    step = max(1, _BLOCK // max(1, length))
    room = weights.new_empty(min(step, rows.shape[0]) * length).view(-1, length)
    for first in range(0, rows.shape[0], step):
        part = slice(first, first + step)
        whole = room[: len(rows[part])].copy_(rows[part]).mul_(weights[part, None])
        whole.div_(1.0, rounding_mode="trunc")  # the same as trunc_, which is several times slower
        square[part] = torch.linalg.vector_norm(whole, dim=1)
        total[part] = whole
    accepted = torch.isfinite(norms) & certainly_inside(square.square_(), bound)
    if bool(accepted.all()):
        return ClipSum(total, norms, None, clip_norm)
    total[~accepted] = 0
    return ClipSum(total, norms, accepted, clip_norm)
