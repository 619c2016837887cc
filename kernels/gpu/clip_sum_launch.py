"""Clip and sum of a flat `[b, p]` buffer on a GPU: factors, integer check, one launch for all layers.

Same arguments and results as `kernels.clip_and_sum_counted`. The integer mode gives the same integers as the
vectorised version, bit for bit, from the same norms.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from kernels.chacha import key_tensors
from kernels.clip_sum import MARGIN, ClipSum, GaussianNoise, certainly_inside, clip_weights, segment_count
from kernels.gpu.clip_sum import clip_factors, clip_sum, clip_sum_integer, integer_squares

__all__ = ["clip_and_sum_launch"]


def clip_and_sum_launch(
    grads: Tensor,
    squares: Tensor,
    clip_norm: float,
    segments: Tensor | None,
    scale: float | None,
    num_segments: int | None,
    noise: GaussianNoise | None,
) -> ClipSum:
    """As `kernels.clip_and_sum_counted`, from the squared norms of each row's tiles.

    Args:
        grads: float32 `[b, p]`.
        squares: `[b, c]`, squared norms of the rows' tiles.
        clip_norm: as there, like the others.
    """
    count = 1 if segments is None else segment_count(segments, num_segments)
    rows, starts = _by_segment(segments, count)
    factors, square = clip_factors(squares, clip_norm, MARGIN)
    norms = square.sqrt()
    if scale is None:
        total = torch.empty(count, grads.shape[1], dtype=torch.float32, device=grads.device)
        clip_sum(grads, factors, rows, starts, total, None if noise is None else _words(noise, grads.device))
        # A row that is not finite although its norm says so would be the caller's error; it must not spread.
        accepted = torch.isfinite(norms)
        if not bool(torch.isfinite(total).all()):
            accepted &= torch.isfinite(grads).all(1)
            factors = torch.where(accepted, factors, 0.0)
            clip_sum(grads, factors, rows, starts, total, None if noise is None else _words(noise, grads.device))
    else:
        bound = math.floor(clip_norm * scale)
        weights = torch.where(torch.isfinite(norms), clip_weights(norms, bound, scale), 0.0)
        accepted = certainly_inside(integer_squares(grads, weights), bound) & torch.isfinite(norms)
        total = torch.empty(count, grads.shape[1], dtype=torch.int64, device=grads.device)
        clip_sum_integer(grads, torch.where(accepted, weights, 0.0), rows, starts, total)
    return ClipSum(total[0] if segments is None else total, norms, accepted, clip_norm)


def _by_segment(segments: Tensor | None, count: int) -> tuple[Tensor | None, Tensor | None]:
    """Row indices ordered by segment, and where each segment's begin."""
    if segments is None:
        return None, None
    order = torch.argsort(segments, stable=True)
    starts = torch.zeros(count + 1, dtype=torch.int32, device=segments.device)
    starts[1:] = torch.bincount(segments, minlength=count).cumsum(0)
    return order.to(torch.int32), starts


def _words(noise: GaussianNoise, device: torch.device) -> tuple[Tensor, Tensor, float]:
    key, nonce = key_tensors(noise.key, noise.nonce, device)
    return key, nonce, noise.std
