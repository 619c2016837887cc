"""Ring encoding on the device in one launch: integer sum, discrete noise from tables, masks from keystreams.

Same integers as `kernels.ring_encode`, bit for bit. The search through a table takes the same steps whatever it
finds. Eight elements share a ChaCha20 block of 64-bit mask words (sixteen one of 32-bit words), and four a block of
noise words of each level.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.chacha import key_tensors
from kernels.discrete_table import DiscreteGaussianTable
from kernels.gpu.chacha import chacha20_block, word64
from kernels.gpu.interleave import interleave8
from kernels.gpu.variant import Variant
from kernels.launch_table import architecture, launch
from kernels.ring_encode import MASK_NONCE, NARROW_BITS, noise_nonce

__all__ = ["aot_variants", "ring_encode_launch"]


@triton.jit
def _half(odd, first, second):
    return tl.where(odd, second, first).to(tl.int64)


@triton.jit
def _search(high_ptr, low_ptr, high_words, low_words, log_width):
    """How many of the 2^log_width thresholds are at most the numbers made of each word's leading 63 bits."""
    # Shifted as signed words, whose sign is then taken away: thresholds and numbers compare as signed ones.
    u_high, u_low = high_words >> 1 & 0x7FFFFFFFFFFFFFFF, low_words >> 1 & 0x7FFFFFFFFFFFFFFF
    count = tl.zeros(u_high.shape, tl.int32)
    for k in range(log_width):
        probe = count + (1 << (log_width - 1 - k))
        t_high = tl.load(high_ptr + probe - 1)
        t_low = tl.load(low_ptr + probe - 1)
        reached = (t_high < u_high) | ((t_high == u_high) & (t_low <= u_low))
        count = tl.where(reached, probe, count)
    return count


@triton.jit
def _ring_encode_kernel(
    total_ptr, out_ptr, mask_keys_ptr, mask_nonce_ptr, noise_key_ptr, noise_nonces_ptr, high_ptr, low_ptr, reaches_ptr,
    strides_ptr, length, first, levels, log_width, masks, unused_bits, NARROW: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    group = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    p = group[:, None] * 8 + tl.arange(0, 8)[None, :]
    mask = p < length
    acc = tl.load(total_ptr + p, mask=mask, other=0)
    for level in range(levels):
        highs, lows = high_ptr + (level << log_width), low_ptr + (level << log_width)
        block = ((first // 8 + group) * 2).to(tl.uint32)
        a = chacha20_block(noise_key_ptr, noise_nonces_ptr + 3 * level, block)
        b = chacha20_block(noise_key_ptr, noise_nonces_ptr + 3 * level, block + 1)
        high_words = interleave8(
            word64(a[0], a[1]), word64(a[4], a[5]), word64(a[8], a[9]), word64(a[12], a[13]),
            word64(b[0], b[1]), word64(b[4], b[5]), word64(b[8], b[9]), word64(b[12], b[13]), BLOCK,
        )  # fmt: skip
        low_words = interleave8(
            word64(a[2], a[3]), word64(a[6], a[7]), word64(a[10], a[11]), word64(a[14], a[15]),
            word64(b[2], b[3]), word64(b[6], b[7]), word64(b[10], b[11]), word64(b[14], b[15]), BLOCK,
        )  # fmt: skip
        counts = _search(highs, lows, high_words, low_words, log_width).to(tl.int64)
        reach = tl.load(reaches_ptr + level)
        acc += tl.load(strides_ptr + level) * (tl.minimum(counts, 2 * reach) - reach)
    for k in range(masks):
        w = chacha20_block(mask_keys_ptr + 8 * k, mask_nonce_ptr, (group // 2 if NARROW else group).to(tl.uint32))
        if NARROW:
            # Two groups of eight share a block, each makes it and takes its half.
            odd = group % 2 == 1
            words = interleave8(
                _half(odd, w[0], w[8]), _half(odd, w[1], w[9]), _half(odd, w[2], w[10]), _half(odd, w[3], w[11]),
                _half(odd, w[4], w[12]), _half(odd, w[5], w[13]), _half(odd, w[6], w[14]), _half(odd, w[7], w[15]),
                BLOCK,
            )  # fmt: skip
        else:
            words = interleave8(
                word64(w[0], w[1]), word64(w[2], w[3]), word64(w[4], w[5]), word64(w[6], w[7]),
                word64(w[8], w[9]), word64(w[10], w[11]), word64(w[12], w[13]), word64(w[14], w[15]), BLOCK,
            )  # fmt: skip
        acc = tl.sub(acc, words, sanitize_overflow=False)
    tl.store(out_ptr + p, acc << unused_bits >> unused_bits, mask=mask)


def ring_encode_launch(
    total: Tensor,
    masks: Sequence[bytes],
    noise: tuple[DiscreteGaussianTable, bytes] | None,
    bits: int,
    first: int = 0,
) -> Tensor:
    """As `kernels.ring_encode.ring_encode`; `first` is the number of the first noise draw, a multiple of 8."""
    device = total.device
    out = torch.empty_like(total)
    keys, nonce = _mask_keys(masks, device)
    levels, log_width = 0, 0
    high = low = reaches = strides = total
    noise_key, nonces = keys, nonce
    if noise is not None:
        table, key = noise
        levels, log_width = table.high.shape[0], table.high.shape[1].bit_length() - 1
        high, low = table.high.to(device), table.low.to(device)
        reaches, strides = (torch.tensor(v, dtype=torch.int64, device=device) for v in (table.reaches, table.strides))
        noise_key = key_tensors(key, noise_nonce(0), device)[0]
        nonces = torch.stack([key_tensors(key, noise_nonce(level), device)[1] for level in range(levels)])
    config = launch("ring_encode", architecture(device))
    if total.numel():
        _ring_encode_kernel[(triton.cdiv(total.numel(), 8 * config.block),)](
            total, out, keys, nonce, noise_key, nonces, high, low, reaches, strides, total.numel(), first, levels,
            log_width, len(masks), 64 - bits, NARROW=bits <= NARROW_BITS, BLOCK=config.block,
            num_warps=config.num_warps,
        )  # fmt: skip
    return out


def _mask_keys(masks: Sequence[bytes], device: torch.device) -> tuple[Tensor, Tensor]:
    """All seeds as int32 `[masks, 8]`, and the zero nonce."""
    pairs = [key_tensors(seed, MASK_NONCE, device) for seed in masks]
    nonce = torch.zeros(3, dtype=torch.int32, device=device)
    return (torch.stack([key for key, _ in pairs]) if pairs else nonce), nonce


def aot_variants() -> list[Variant]:
    """For tables of every size, and both widths of mask words."""
    config = launch("ring_encode", "any")
    keys = ("mask_keys_ptr", "mask_nonce_ptr", "noise_key_ptr", "noise_nonces_ptr")
    longs = ("total_ptr", "out_ptr", "high_ptr", "low_ptr", "reaches_ptr", "strides_ptr")
    signature = dict.fromkeys(longs, "*i64") | dict.fromkeys(keys, "*i32")
    signature |= {
        "length": "i64",
        "first": "i64",
        "levels": "i32",
        "log_width": "i32",
        "masks": "i32",
        "unused_bits": "i32",
    }
    return [
        Variant(
            name,
            _ring_encode_kernel,
            signature,
            {"NARROW": narrow, "BLOCK": config.block},
            config.num_warps,
            unaligned=keys,
        )
        for name, narrow in (("ring_encode", False), ("ring_encode_narrow", True))
    ]
