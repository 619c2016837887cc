"""Per-sample LoRA gradients on the device: one launch a layer, written straight into the flat buffer.

A program owns one sample and one slice of features of A's or B's gradient, loops over positions, stores its tile and
the tile's squared norm, taken of the stored values. No atomics, so that results repeat bit for bit. It never sums over
samples.
"""

from __future__ import annotations

import os

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.gpu.variant import Variant
from kernels.launch_table import Launch, architecture, launch

__all__ = ["aot_variants", "lora_grads", "norm_tiles"]

# The interpreter multiplies raw bits of bfloat16.
_INTERPRET = os.environ.get("TRITON_INTERPRET") == "1"
_MIN_RANK = 4  # smallest side that tl.dot takes without padding by us


@triton.jit
def _outer_tile(
    wide_ptr, narrow_ptr, sample, first, t_len, width, rank, R: tl.constexpr, BT: tl.constexpr, BD: tl.constexpr,
    UPCAST: tl.constexpr,
):  # fmt: skip
    """`narrow^T wide` of one sample: float32 `[R, BD]`, the features `first .. first + BD - 1` of `wide`."""
    r = tl.arange(0, R)
    d = first + tl.arange(0, BD)
    acc = tl.zeros([R, BD], tl.float32)
    for t0 in range(0, t_len, BT):
        t = t0 + tl.arange(0, BT)
        row = sample * t_len + t
        narrow = tl.load(
            narrow_ptr + row[None, :] * rank + r[:, None], mask=(t < t_len)[None, :] & (r < rank)[:, None], other=0.0
        )
        wide = tl.load(
            wide_ptr + row[:, None] * width + d[None, :], mask=(t < t_len)[:, None] & (d < width)[None, :], other=0.0
        )
        if UPCAST:
            narrow = narrow.to(tl.float32)
            wide = wide.to(tl.float32)
        acc = tl.dot(narrow, wide, acc, input_precision="ieee")
    return acc


@triton.jit
def _lora_grad_kernel(
    x_ptr, u_ptr, h_ptr, g_ptr, grad_a_ptr, grad_b_ptr, squares_ptr, t_len, d_in, d_out, rank, stride_a, stride_b,
    stride_squares, tiles_a, ACCUMULATE: tl.constexpr, R: tl.constexpr, BT: tl.constexpr, BD: tl.constexpr,
    UPCAST: tl.constexpr,
):  # fmt: skip
    sample = tl.program_id(0).to(tl.int64)
    tile = tl.program_id(1)
    r = tl.arange(0, R)
    if tile < tiles_a:
        d = tile * BD + tl.arange(0, BD)
        acc = _outer_tile(x_ptr, u_ptr, sample, tile * BD, t_len, d_in, rank, R, BT, BD, UPCAST)
        mask = (r < rank)[:, None] & (d < d_in)[None, :]
        ptrs = grad_a_ptr + sample * stride_a + r[:, None] * d_in + d[None, :]
    else:
        d = (tile - tiles_a) * BD + tl.arange(0, BD)
        acc = _outer_tile(g_ptr, h_ptr, sample, (tile - tiles_a) * BD, t_len, d_out, rank, R, BT, BD, UPCAST)
        mask = (r < rank)[:, None] & (d < d_out)[None, :]
        ptrs = grad_b_ptr + sample * stride_b + d[None, :] * rank + r[:, None]
    if ACCUMULATE:
        acc += tl.load(ptrs, mask=mask, other=0.0)
    tl.store(ptrs, acc, mask=mask)
    # Masked lanes are zero: their inputs were loaded as zero, and so was what they accumulate on.
    tl.store(squares_ptr + sample * stride_squares + tile, tl.sum(tl.sum(acc * acc, 1), 0).to(tl.float64))


def norm_tiles(d_in: int, d_out: int, rank: int, arch: str, has_a: bool = True, has_b: bool = True) -> int:
    """How many tiles, and squared norms a sample, one pair has on this architecture."""
    block = launch("lora_grad", arch, rank).block
    tiles: int = has_a * triton.cdiv(d_in, block) + has_b * triton.cdiv(d_out, block)
    return tiles


def lora_grads(
    x: Tensor,
    u: Tensor,
    h: Tensor,
    g: Tensor,
    grad_a: Tensor | None,
    grad_b: Tensor | None,
    squares: Tensor,
    accumulate: bool,
) -> None:
    """One launch: `grad_a_i = u_i^T x_i`, `grad_b_i = g_i^T h_i` and the squared norms of their tiles.

    Args:
        x: `[b, t, d_in]`, float32, bfloat16 or float16, like the others.
        u: `[b, t, r]`, scaling included.
        h: `[b, t, r]`, scaling included.
        g: `[b, t, d_out]`.
        grad_a: float32 view `[b, r, d_in]` of the buffer, its last two dimensions contiguous; None if A is frozen.
        grad_b: float32 view `[b, d_out, r]`, likewise.
        squares: float64 view `[b, norm_tiles(...)]`, its last dimension contiguous.
        accumulate: add to what the views hold (a layer that runs twice).

    Raises:
        ValueError: for ranks above 256.
    """
    batch, positions, d_in = x.shape
    rank, d_out = u.shape[-1], g.shape[-1]
    if rank > 256:
        raise ValueError(f"rank is {rank}; allowed: up to 256")
    if batch == 0:
        return
    config = launch("lora_grad", architecture(x.device), rank)
    tiles_a = 0 if grad_a is None else triton.cdiv(d_in, config.block)
    tiles = norm_tiles(d_in, d_out, rank, architecture(x.device), grad_a is not None, grad_b is not None)
    x, u, h, g = (value.contiguous() for value in (x, u, h, g))
    a = squares if grad_a is None else grad_a  # never touched: no program has its tiles
    b = squares if grad_b is None else grad_b
    _lora_grad_kernel[(batch, tiles)](
        x, u, h, g, a, b, squares, positions, d_in, d_out, rank, a.stride(0), b.stride(0), squares.stride(0), tiles_a,
        ACCUMULATE=accumulate, num_warps=config.num_warps, num_stages=config.num_stages, **_sizes(config, rank),
        UPCAST=_INTERPRET and x.dtype == torch.bfloat16,
    )  # fmt: skip


def _sizes(config: Launch, rank: int) -> dict[str, int]:
    return {"R": max(_MIN_RANK, triton.next_power_of_2(rank)), "BT": config.inner, "BD": config.block}


def aot_variants() -> list[Variant]:
    """Every rank that has a row of its own, in float32 and bfloat16; accumulation once."""
    variants = []
    for rank in (4, 8, 16, 64, 256):
        for dtype in ("fp32", "bf16"):
            for accumulate in (False, True) if rank == 16 else (False,):
                variants.append(_variant(rank, dtype, accumulate))
    return variants


def _variant(rank: int, dtype: str, accumulate: bool) -> Variant:
    config = launch("lora_grad", "any", rank)
    inputs = dict.fromkeys(("x_ptr", "u_ptr", "h_ptr", "g_ptr"), f"*{dtype}")
    outputs = {"grad_a_ptr": "*fp32", "grad_b_ptr": "*fp32", "squares_ptr": "*fp64"}
    sizes = dict.fromkeys(("t_len", "d_in", "d_out", "rank"), "i32")
    strides = dict.fromkeys(("stride_a", "stride_b", "stride_squares"), "i64")
    name = f"lora_grad {dtype} r={rank}" + " accumulate" * accumulate
    constants = {"ACCUMULATE": accumulate, "UPCAST": False, **_sizes(config, rank)}
    signature = {**inputs, **outputs, **sizes, **strides, "tiles_a": "i32"}
    return Variant(name, _lora_grad_kernel, signature, constants, config.num_warps, config.num_stages)
