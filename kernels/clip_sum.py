"""Clip every sample's gradient and sum, per client, in floats or exactly in integers.

Takes one flat gradient per sample and gives one vector per segment (client). In integer mode each sample is
clipped, scaled, truncated toward zero and its integer norm checked *before* any sum is kept, so that one sample
moves a sum by an integer vector of L2 norm at most `clip_norm * scale`: the sensitivity that the discrete
mechanisms' theorems need. A sample with a non-finite value, or whose integer norm fails the check, contributes
exactly zero and is counted. It must never let a non-finite number into a sum, and adds noise only where the caller
hands it a key.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from kernels.backend import runs_triton
from kernels.gaussian import add_gaussian_noise_

__all__ = ["MARGIN", "ClipSum", "GaussianNoise", "clip_and_sum", "clip_and_sum_counted", "clip_and_sum_tiles"]

# The clip factor aims this much below the clip norm (relative): more than a squared norm summed in float32 inside
# blocks and float64 across them can err, so that the true norm of what is summed stays within the bound.
MARGIN = 2.0**-18
# Below it, values whose squares vanish in float32 could matter: p of them weigh at most sqrt(p) 2^-74.
MIN_CLIP_NORM = 1e-9
# A row of whole numbers whose float64 sum of squares is this much below the bound's square is inside it in exact
# integers too: that sum errs by at most p 2^-53 relative, less than this for every p below 2^32.
_CERTAIN = 1.0 - 2.0**-20
# Coordinates worked on at a time, so that a block and its float64 copy stay in the processor's cache.
_BLOCK = 2**19


@dataclass(frozen=True, repr=False)
class GaussianNoise:
    """Noise to add to a float sum in the same launch; without a repr, for the key must not reach a log.

    Attributes:
        std: standard deviation of every coordinate, in the units of the sum.
        key: 32 fresh bytes from the operating system.
        nonce: 12 bytes; a (key, nonce) pair is used once.
    """

    std: float
    key: bytes
    nonce: bytes


Tiles = Callable[[], Iterable[tuple[int, Tensor]]]


@dataclass(frozen=True, repr=False)
class ClipSum:
    """Sums of clipped gradients; without a repr, for they may be un-noised and must not reach a log.

    Attributes:
        total: `[p]` or `[segments, p]`; int64 in integer mode, else the gradients' dtype (at least float32).
        norms: `[b]` float64, each sample's norm before clipping. Private.
        accepted: `[b]` bool, False for samples that contributed zero; None if every sample counts.
        clip_norm: the bound that was applied.
    """

    total: Tensor
    norms: Tensor
    accepted: Tensor | None
    clip_norm: float

    @property
    def clipped(self) -> int:
        """Number of samples whose norm was above the clip norm (non-finite ones are not among them)."""
        return int((torch.isfinite(self.norms) & (self.norms > self.clip_norm)).sum())

    @property
    def nonfinite(self) -> int:
        """Number of samples that contributed zero because a value was not finite or the integer check failed."""
        return 0 if self.accepted is None else int((~self.accepted).sum())


def clip_and_sum(
    grads: Tensor,
    sq_norms: Tensor,
    clip_norm: float,
    segments: Tensor | None = None,
    scale: float | None = None,
    num_segments: int | None = None,
) -> Tensor:
    """Sum of the samples' gradients, each weighted by `min(1, clip_norm / norm)` (Abadi et al. 2016, algorithm 1).

    Args:
        grads: `[b, p]`, one flat gradient per sample.
        sq_norms: `[b]`, squared L2 norms of the rows of `grads`.
        clip_norm: L2 bound C > 0 of one sample's contribution.
        segments: optional int64 `[b]`, the segment (client) of each sample, in `0..num_segments-1`.
        scale: optional grid steps per unit; with it the sum is int64, of samples truncated to integers whose L2
            norm is at most `clip_norm * scale`, whatever `sq_norms` says.
        num_segments: number of segments; default `segments.max() + 1`.

    Returns:
        `[p]`, or `[num_segments, p]` with `segments`.

    Raises:
        ValueError: for shapes that do not fit, a clip norm below 1e-9 or not finite, or a bound `clip_norm * scale`
            outside 1..2^40.
    """
    return clip_and_sum_counted(grads, sq_norms, clip_norm, segments, scale, num_segments).total


def clip_and_sum_counted(
    grads: Tensor,
    sq_norms: Tensor,
    clip_norm: float,
    segments: Tensor | None = None,
    scale: float | None = None,
    num_segments: int | None = None,
    noise: GaussianNoise | None = None,
) -> ClipSum:
    """As `clip_and_sum`, with norms and counts, and Gaussian noise on the sum if `noise` is given (float mode only).

    Raises:
        ValueError: also for noise together with `scale` or `segments`.
    """
    if grads.dim() != 2:
        raise ValueError(f"grads must be [b, p], got shape {tuple(grads.shape)}")
    check_arguments(grads.shape[0], sq_norms, clip_norm, segments, scale, noise)
    if runs_triton(grads) and grads.dtype == torch.float32:
        from kernels.gpu.clip_sum_launch import clip_and_sum_launch

        return clip_and_sum_launch(grads, sq_norms[:, None], clip_norm, segments, scale, num_segments, noise)
    length, dtype = grads.shape[1], grads.dtype
    norms = sq_norms.to(torch.float64).sqrt()
    return clip_and_sum_tiles(
        lambda: [(0, grads)], length, dtype, norms, clip_norm, segments, scale, num_segments, noise, trusted=False
    )


def clip_and_sum_tiles(
    tiles: Tiles,
    length: int,
    dtype: torch.dtype,
    norms: Tensor,
    clip_norm: float,
    segments: Tensor | None = None,
    scale: float | None = None,
    num_segments: int | None = None,
    noise: GaussianNoise | None = None,
    trusted: bool = True,
) -> ClipSum:
    """`clip_and_sum_counted` over gradients that come in pieces; `tiles()` may be called again and gives them anew.

    Args:
        tiles: gives `(start, grads [b, n])` for column ranges `start : start + n` that cover `0..length-1` once.
        length: p.
        dtype: dtype of the gradients.
        norms: float64 `[b]`, L2 norms of the rows.
        trusted: the norms are of these very rows, so that a row is finite if its norm is.
    """
    batch = norms.shape[0]
    count = 1 if segments is None else segment_count(segments, num_segments)
    accepted = None if _all_finite(norms) else torch.isfinite(norms)
    if scale is None:
        out_dtype = dtype if dtype == torch.float64 else torch.float32
        total = norms.new_zeros(count, length, dtype=out_dtype)
        weights = clip_weights(norms, clip_norm).to(out_dtype)
        _sum_floats(total, tiles, weights, accepted, segments)
        if not trusted and not _all_finite(total):
            # A row was not finite although its norm said so.
            finite = torch.ones(batch, dtype=torch.bool, device=norms.device)
            for _, grads in tiles():
                finite &= torch.isfinite(grads).all(1)
            accepted = finite if accepted is None else accepted & finite
            _sum_floats(total.zero_(), tiles, weights, accepted, segments)
        if noise is not None:
            add_gaussian_noise_(total[0], noise.std, noise.key, noise.nonce)
    else:
        bound = math.floor(clip_norm * scale)
        # Whole numbers are added in float64 while every possible sum is below 2^53, hence exact.
        exact = torch.float64 if batch * bound < 2**53 else torch.int64
        total = norms.new_zeros(count, length, dtype=exact)
        weights = clip_weights(norms, bound, scale)
        square = _sum_integers(total, tiles, weights, accepted, segments)
        inside = certainly_inside(square, bound)
        if not bool(inside.all()):
            accepted = inside if accepted is None else accepted & inside
            _sum_integers(total.zero_(), tiles, weights, accepted, segments)
        if exact == torch.float64:
            # In place: fresh pages for a second vector would cost more than the conversion.
            total = total.view(torch.int64).copy_(total)
    return ClipSum(total[0] if segments is None else total, norms, accepted, clip_norm)


def clip_weights(norms: Tensor, bound: float, scale: float = 1.0) -> Tensor:
    """`min(scale, bound (1 - margin) / norm)`, float64 `[b]`; `bound` in the units of the weighted rows."""
    # A zero norm gives an infinite quotient, so full weight.
    return (bound * (1 - MARGIN) / norms).clamp_(max=scale)


def certainly_inside(square: Tensor, bound: int) -> Tensor:
    """Which rows of whole numbers, given their float64 sums of squares, have an exact norm of at most `bound`."""
    return square <= float(bound) ** 2 * _CERTAIN  # False for NaN


def _sum_floats(total: Tensor, tiles: Tiles, weights: Tensor, accepted: Tensor | None, segments: Tensor | None) -> None:
    for start, grads in tiles():
        part = total[:, start : start + grads.shape[1]]
        rows = _without(grads, accepted).to(total.dtype)
        factors = _without(weights, accepted)
        if segments is None:
            torch.mv(rows.t(), factors, out=part[0])
            continue
        step = _columns(rows.shape[0])
        for first in range(0, rows.shape[1], step):
            columns = slice(first, first + step)
            part[:, columns].index_add_(0, segments, rows[:, columns] * factors[:, None])


def _sum_integers(
    total: Tensor, tiles: Tiles, weights: Tensor, accepted: Tensor | None, segments: Tensor | None
) -> Tensor:
    """Sums truncated rows into `total`; returns the float64 sums of their squares `[b]`."""
    factors = _without(weights, accepted)[:, None]
    norms = [torch.zeros_like(weights)]
    for start, grads in tiles():
        step = _columns(grads.shape[0])
        room = weights.new_empty(grads.shape[0] * min(step, grads.shape[1]))
        for first in range(0, grads.shape[1], step):
            block = _without(grads[:, first : first + step], accepted)
            rows = room[: block.numel()].view(block.shape).copy_(block).mul_(factors)
            rows.div_(1.0, rounding_mode="trunc")  # the same as trunc_, which is several times slower
            norms.append(torch.linalg.vector_norm(rows, dim=1))
            whole = rows.to(total.dtype)
            part = total[:, start + first : start + first + rows.shape[1]]
            if segments is None:
                torch.sum(whole, 0, out=part[0])
            else:
                part.index_add_(0, segments, whole)
    square: Tensor = torch.linalg.vector_norm(torch.stack(norms), dim=0).square_()
    return square


def _columns(batch: int) -> int:
    return max(64, _BLOCK // max(1, batch))


def _without(rows: Tensor, accepted: Tensor | None) -> Tensor:
    """Rows with zeros for those not accepted: 0 * inf is nan, so the row itself must go, not only its weight."""
    if accepted is None:
        return rows
    return torch.where(accepted if rows.dim() == 1 else accepted[:, None], rows, torch.zeros_like(rows))


def _all_finite(values: Tensor) -> bool:
    # One reduction instead of a mask; an overflow of finite values only leads to the careful path.
    return math.isfinite(values.detach().sum().item())


def segment_count(segments: Tensor, num_segments: int | None) -> int:
    """Number of segments: as given, else up to the largest id."""
    if num_segments is not None:
        return num_segments
    return int(segments.max()) + 1 if segments.numel() else 0


def check_arguments(
    batch: int,
    sq_norms: Tensor | None,
    clip_norm: float,
    segments: Tensor | None,
    scale: float | None,
    noise: GaussianNoise | None,
) -> None:
    """Raise ValueError with one sentence for arguments that do not fit."""
    if sq_norms is not None and sq_norms.shape != (batch,):
        raise ValueError(f"sq_norms must be [{batch}], got shape {tuple(sq_norms.shape)}")
    if not MIN_CLIP_NORM <= clip_norm < math.inf:
        raise ValueError(f"clip_norm must be finite and at least {MIN_CLIP_NORM:g}, got {clip_norm}")
    if segments is not None and segments.shape != (batch,):
        raise ValueError(f"segments must be [{batch}], got shape {tuple(segments.shape)}")
    if scale is not None and not (math.isfinite(scale) and 1 <= clip_norm * scale <= 2**40):
        raise ValueError(f"clip_norm * scale must be in 1..2^40 grid steps, got {clip_norm} * {scale}")
    if noise is not None and (scale is not None or segments is not None):
        raise ValueError("noise is added to one float sum only: allowed without scale and without segments")
