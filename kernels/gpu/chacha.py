"""ChaCha20 (RFC 8439) on the device: any block of the keystream from key, nonce and block number alone.

Counter-based, so that grid, block size and device do not matter. It keeps no state; never use a (key, nonce) pair for
two purposes.

Ours and not independently reviewed.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.gpu.variant import Variant
from kernels.launch_table import architecture, launch

__all__ = ["aot_variants", "chacha20_block", "chacha20_launch", "word64"]


@triton.jit
def _rotate(x, n: tl.constexpr):
    return (x << n) | (x >> (32 - n))


@triton.jit
def _add(x, y):
    return tl.add(x, y, sanitize_overflow=False)


@triton.jit
def _quarter_round(a, b, c, d):
    a = _add(a, b)
    d = _rotate(d ^ a, 16)
    c = _add(c, d)
    b = _rotate(b ^ c, 12)
    a = _add(a, b)
    d = _rotate(d ^ a, 8)
    c = _add(c, d)
    b = _rotate(b ^ c, 7)
    return a, b, c, d


@triton.jit
def _word(ptr, index: tl.constexpr, zero):
    return tl.load(ptr + index).to(tl.uint32, bitcast=True) + zero


@triton.jit
def chacha20_block(key_ptr, nonce_ptr, counter):
    """Blocks number `counter` (uint32, any shape) of the keystream: 16 words each (RFC 8439, section 2.3).

    `key_ptr`: 8 int32 words; `nonce_ptr`: 3 int32 words.
    """
    zero = counter ^ counter
    s0, s1 = zero + 0x61707865, zero + 0x3320646E
    s2, s3 = zero + 0x79622D32, zero + 0x6B206574
    s4, s5 = _word(key_ptr, 0, zero), _word(key_ptr, 1, zero)
    s6, s7 = _word(key_ptr, 2, zero), _word(key_ptr, 3, zero)
    s8, s9 = _word(key_ptr, 4, zero), _word(key_ptr, 5, zero)
    s10, s11 = _word(key_ptr, 6, zero), _word(key_ptr, 7, zero)
    s13, s14, s15 = _word(nonce_ptr, 0, zero), _word(nonce_ptr, 1, zero), _word(nonce_ptr, 2, zero)
    x0, x1, x2, x3, x4, x5, x6, x7 = s0, s1, s2, s3, s4, s5, s6, s7
    x8, x9, x10, x11, x12, x13, x14, x15 = s8, s9, s10, s11, counter, s13, s14, s15
    for _ in range(10):
        x0, x4, x8, x12 = _quarter_round(x0, x4, x8, x12)
        x1, x5, x9, x13 = _quarter_round(x1, x5, x9, x13)
        x2, x6, x10, x14 = _quarter_round(x2, x6, x10, x14)
        x3, x7, x11, x15 = _quarter_round(x3, x7, x11, x15)
        x0, x5, x10, x15 = _quarter_round(x0, x5, x10, x15)
        x1, x6, x11, x12 = _quarter_round(x1, x6, x11, x12)
        x2, x7, x8, x13 = _quarter_round(x2, x7, x8, x13)
        x3, x4, x9, x14 = _quarter_round(x3, x4, x9, x14)
    return (
        _add(x0, s0),
        _add(x1, s1),
        _add(x2, s2),
        _add(x3, s3),
        _add(x4, s4),
        _add(x5, s5),
        _add(x6, s6),
        _add(x7, s7),
        _add(x8, s8),
        _add(x9, s9),
        _add(x10, s10),
        _add(x11, s11),
        _add(x12, counter),
        _add(x13, s13),
        _add(x14, s14),
        _add(x15, s15),
    )


@triton.jit
def word64(low, high):
    """A signed 64-bit word from two words of a block, little end first."""
    return (high.to(tl.uint64) << 32 | low.to(tl.uint64)).to(tl.int64, bitcast=True)


@triton.jit
def _keystream_kernel(out_ptr, key_ptr, nonce_ptr, first_block, blocks, BLOCK: tl.constexpr):
    index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    words = chacha20_block(key_ptr, nonce_ptr, (index + first_block).to(tl.uint32))
    for j in tl.static_range(16):
        tl.store(out_ptr + index * 16 + j, words[j].to(tl.int32, bitcast=True), mask=index < blocks)


def chacha20_launch(key: Tensor, nonce: Tensor, blocks: int, first_block: int) -> Tensor:
    """int32 `[16 blocks]`, words of the blocks from `first_block` on; `key` int32 `[8]`, `nonce` int32 `[3]`."""
    out = torch.empty(16 * blocks, dtype=torch.int32, device=key.device)
    config = launch("chacha", architecture(key.device))
    if blocks:
        grid = (triton.cdiv(blocks, config.block),)
        _keystream_kernel[grid](
            out, key, nonce, first_block, blocks, config.block, num_warps=config.num_warps, num_stages=config.num_stages
        )
    return out


def aot_variants() -> list[Variant]:
    """The keystream as it is launched."""
    signature = {"out_ptr": "*i32", "key_ptr": "*i32", "nonce_ptr": "*i32", "first_block": "i64", "blocks": "i64"}
    config = launch("chacha", "any")
    return [Variant("chacha", _keystream_kernel, signature, {"BLOCK": config.block}, config.num_warps)]
