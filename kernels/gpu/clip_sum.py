"""Clip factors, and the clipped sum of all layers in one launch, on the device.

Works on the flat `[b, p]` buffer. Sums go over samples in a fixed order, so that results repeat bit for bit. A row of
weight zero contributes exactly zero whatever it holds. Noise is added in the launch that sums, if asked for.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.gpu.gaussian import gaussian_block
from kernels.gpu.interleave import interleave8
from kernels.gpu.variant import Variant
from kernels.launch_table import architecture, launch

__all__ = ["aot_variants", "clip_factors", "clip_sum", "clip_sum_integer", "integer_squares"]


@triton.jit
def _clip_factor_kernel(squares_ptr, factors_ptr, sums_ptr, columns, stride, target, cap, BLOCK: tl.constexpr):
    """One row: the float64 sum of its squared norms, and `min(cap, target / norm)`."""
    row = tl.program_id(0).to(tl.int64)
    acc = tl.zeros([BLOCK], tl.float64)
    for first in range(0, columns, BLOCK):
        column = first + tl.arange(0, BLOCK)
        acc += tl.load(squares_ptr + row * stride + column, mask=column < columns, other=0.0).to(tl.float64)
    total = tl.sum(acc, 0)
    norm = tl.sqrt(total)
    factor = tl.where(norm > 0, target / tl.where(norm > 0, norm, 1.0), cap)
    factor = tl.minimum(factor, cap)
    # Neither infinite nor not-a-number: those compare false.
    finite = total < float("inf")
    tl.store(factors_ptr + row, tl.where(finite, factor, 0.0))
    tl.store(sums_ptr + row, total)


@triton.jit
def _row_of(rows_ptr, position, zero, INDEXED: tl.constexpr):
    """The row at this position, as int64: `b p` may pass 2^31."""
    if INDEXED:
        return tl.load(rows_ptr + position).to(tl.int64)
    else:
        return zero + position


@triton.jit
def _clip_sum_kernel(
    grads_ptr, factors_ptr, rows_ptr, starts_ptr, out_ptr, key_ptr, nonce_ptr, std, length, stride, batch,
    INDEXED: tl.constexpr, ACCUMULATE: tl.constexpr, NOISE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One segment's slice of 8 BLOCK coordinates, as `[BLOCK, 8]`: a ChaCha20 block makes 8 normals."""
    segment = tl.program_id(1)
    block = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    p = block[:, None] * 8 + tl.arange(0, 8)[None, :]
    mask = p < length
    zero = segment.to(tl.int64) * 0
    begin = 0
    end = batch
    if INDEXED:
        begin = tl.load(starts_ptr + segment)
        end = tl.load(starts_ptr + segment + 1)
    acc = tl.zeros([BLOCK, 8], tl.float32)
    for i in range(begin, end):
        row = _row_of(rows_ptr, i, zero, INDEXED)
        factor = tl.load(factors_ptr + row).to(tl.float32)
        if factor > 0:  # not a product: 0 * inf would be nan
            acc += factor * tl.load(grads_ptr + row * stride + p, mask=mask, other=0.0)
    out = out_ptr + segment.to(tl.int64) * length + p
    if ACCUMULATE:
        acc += tl.load(out, mask=mask, other=0.0)
    if NOISE:
        n = gaussian_block(key_ptr, nonce_ptr, block.to(tl.uint32))
        normals = interleave8(n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], BLOCK)
        acc = (acc.to(tl.float64) + std * normals).to(tl.float32)
    tl.store(out, acc, mask=mask)


@triton.jit
def _integer_square_kernel(grads_ptr, weights_ptr, squares_ptr, length, stride, tiles, BLOCK: tl.constexpr):
    """Sum of squares of one row's truncated slice, in float64."""
    row = tl.program_id(0).to(tl.int64)
    tile = tl.program_id(1)
    p = tile.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    weight = tl.load(weights_ptr + row)
    total = tl.zeros([], tl.float64)
    if weight > 0:
        whole = _truncated(tl.load(grads_ptr + row * stride + p, mask=p < length, other=0.0), weight)
        total = tl.sum(whole * whole, 0)
    tl.store(squares_ptr + row * tiles + tile, total)


@triton.jit
def _truncated(grads, weight):
    """`trunc(grads * weight)`, the product rounded once in float64: the same integers as PyTorch's."""
    product = grads.to(tl.float64) * weight
    return tl.where(product < 0, tl.ceil(product), tl.floor(product))


@triton.jit
def _clip_sum_integer_kernel(
    grads_ptr, weights_ptr, rows_ptr, starts_ptr, out_ptr, length, stride, batch, INDEXED: tl.constexpr,
    ACCUMULATE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    segment = tl.program_id(1)
    p = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = p < length
    zero = segment.to(tl.int64) * 0
    begin = 0
    end = batch
    if INDEXED:
        begin = tl.load(starts_ptr + segment)
        end = tl.load(starts_ptr + segment + 1)
    acc = tl.zeros([BLOCK], tl.int64)
    for i in range(begin, end):
        row = _row_of(rows_ptr, i, zero, INDEXED)
        weight = tl.load(weights_ptr + row)
        if weight > 0:
            acc += _truncated(tl.load(grads_ptr + row * stride + p, mask=mask, other=0.0), weight).to(tl.int64)
    out = out_ptr + segment.to(tl.int64) * length + p
    if ACCUMULATE:
        acc += tl.load(out, mask=mask, other=0)
    tl.store(out, acc, mask=mask)


def clip_factors(squares: Tensor, clip_norm: float, margin: float) -> tuple[Tensor, Tensor]:
    """`min(1, C (1 - margin) / norm)` and the squared norm, float64 `[b]` each; factor 0 for a norm not finite.

    Args:
        squares: `[b, c]`, squared norms of a row's tiles; last dimension contiguous.
        clip_norm: C > 0.
        margin: relative distance kept from C.
    """
    batch, columns = squares.shape
    factors = torch.empty(batch, dtype=torch.float64, device=squares.device)
    sums = torch.empty_like(factors)
    config = launch("clip_factor", architecture(squares.device))
    if batch:
        squares = squares if squares.stride(1) == 1 or columns == 1 else squares.contiguous()
        _clip_factor_kernel[(batch,)](
            squares, factors, sums, columns, squares.stride(0), clip_norm * (1 - margin), 1.0, config.block,
            num_warps=config.num_warps,
        )  # fmt: skip
    return factors, sums


def clip_sum(
    grads: Tensor,
    factors: Tensor,
    rows: Tensor | None,
    starts: Tensor | None,
    out: Tensor,
    noise: tuple[Tensor, Tensor, float] | None = None,
    accumulate: bool = False,
) -> None:
    """`out[s] = sum of factors[i] grads[i]` over segment s's samples, plus noise: one launch for all layers.

    Args:
        grads: float32 `[b, p]`.
        factors: float64 `[b]`; a row with factor 0 contributes exactly zero.
        rows: int32 `[b]`, samples ordered by segment, or None for one segment of all.
        starts: int32 `[segments + 1]`, where each segment's samples begin in `rows`, or None.
        out: float32 `[segments, p]`, contiguous.
        noise: (key int32 `[8]`, nonce int32 `[3]`, standard deviation) of a Gaussian, for one segment only.
        accumulate: add to what `out` holds (microbatches).

    Raises:
        ValueError: for noise on several segments.
    """
    if noise is not None and out.shape[0] != 1:
        raise ValueError(f"noise on {out.shape[0]} segments; allowed: one, or a key would serve twice")
    key, nonce, std = (factors, factors, 0.0) if noise is None else noise
    config = launch("clip_sum", architecture(grads.device))
    grid = (triton.cdiv(out.shape[1], 8 * config.block), out.shape[0])
    if out.numel():
        _clip_sum_kernel[grid](
            grads, factors, factors if rows is None else rows, factors if starts is None else starts, out, key, nonce,
            std, out.shape[1], grads.stride(0), grads.shape[0], INDEXED=rows is not None, ACCUMULATE=accumulate,
            NOISE=noise is not None, BLOCK=config.block, num_warps=config.num_warps,
        )  # fmt: skip


def integer_squares(grads: Tensor, weights: Tensor) -> Tensor:
    """Sum of squares of every truncated row `trunc(weights[i] grads[i])`, float64 `[b]`; 0 for weight 0.

    Whole numbers below 2^53, so the sum errs by less than p 2^-53 relative.
    """
    batch, length = grads.shape
    config = launch("integer_square", architecture(grads.device))
    tiles = max(1, triton.cdiv(length, config.block))
    squares = torch.zeros(batch, tiles, dtype=torch.float64, device=grads.device)
    if squares.numel() and length:
        _integer_square_kernel[(batch, tiles)](
            grads, weights, squares, length, grads.stride(0), tiles, config.block, num_warps=config.num_warps
        )
    return squares.sum(1)


def clip_sum_integer(
    grads: Tensor,
    weights: Tensor,
    rows: Tensor | None,
    starts: Tensor | None,
    out: Tensor,
    accumulate: bool = False,
) -> None:
    """`out[s] = sum of trunc(weights[i] grads[i])` over segment s's samples, exact int64 `[segments, p]`.

    Arguments as `clip_sum`; `weights` float64 `[b]`, clip factor times scale.
    """
    config = launch("clip_sum_integer", architecture(grads.device))
    grid = (triton.cdiv(out.shape[1], config.block), out.shape[0])
    if out.numel():
        _clip_sum_integer_kernel[grid](
            grads, weights, weights if rows is None else rows, weights if starts is None else starts, out,
            out.shape[1], grads.stride(0), grads.shape[0], INDEXED=rows is not None, ACCUMULATE=accumulate,
            BLOCK=config.block, num_warps=config.num_warps,
        )  # fmt: skip


def aot_variants() -> list[Variant]:
    """Every kernel here as it is launched."""
    base = {"grads_ptr": "*fp32", "rows_ptr": "*i32", "starts_ptr": "*i32", "length": "i64", "stride": "i64"}
    floats = {**base, "factors_ptr": "*fp64", "out_ptr": "*fp32", "key_ptr": "*i32", "nonce_ptr": "*i32"}
    floats |= {"std": "fp32", "batch": "i32"}
    integers = {**base, "weights_ptr": "*fp64", "out_ptr": "*i64", "batch": "i32"}
    factor = {"squares_ptr": "*fp64", "factors_ptr": "*fp64", "sums_ptr": "*fp64", "columns": "i32", "stride": "i64"}
    square = {"grads_ptr": "*fp32", "weights_ptr": "*fp64", "squares_ptr": "*fp64", "length": "i64", "stride": "i64"}
    flags = {"INDEXED": True, "ACCUMULATE": False}

    def variant(name: str, kernel: object, signature: dict[str, str], row: str, **constants: object) -> Variant:
        config = launch(row, "any")
        return Variant(name, kernel, signature, {**constants, "BLOCK": config.block}, config.num_warps)

    return [
        variant("clip_factor", _clip_factor_kernel, {**factor, "target": "fp32", "cap": "fp32"}, "clip_factor"),
        variant("clip_sum segments", _clip_sum_kernel, floats, "clip_sum", **flags, NOISE=False),
        variant("clip_sum noise", _clip_sum_kernel, floats, "clip_sum", INDEXED=False, ACCUMULATE=True, NOISE=True),
        variant("integer_square", _integer_square_kernel, {**square, "tiles": "i32"}, "integer_square"),
        variant("clip_sum integer", _clip_sum_integer_kernel, integers, "clip_sum_integer", **flags),
    ]
