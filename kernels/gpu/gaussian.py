"""Gaussian noise on the device: ChaCha20 words to normals in float64, without the slow paths of sine and cosine.

Same normals as `kernels.gaussian`, up to the last bits of a logarithm and of the polynomials. The Philox variant is for
measuring only.

Ours and not independently reviewed.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.gpu.chacha import chacha20_block, word64
from kernels.gpu.variant import Variant
from kernels.launch_table import architecture, launch

__all__ = ["aot_variants", "gaussian_block", "gaussian_launch", "philox_gaussian_noise"]


@triton.jit
def _f64(value: tl.constexpr):
    """A float64 constant; a bare Python number would be rounded to float32 first."""
    return tl.full([1], value, tl.float64)


@triton.jit
def _normal_pair(w0, w1, w2, w3):
    """Box and Muller on 64 bits of radius and 64 bits of angle (see `kernels.gaussian`)."""
    uniform = word64(w0, w1).to(tl.float64) * _f64(1.0842021724855044e-19) + _f64(5.421010862427522e-20)
    radius = tl.sqrt(-tl.log(uniform * uniform))
    angle = word64(w2, w3)
    # The nearest multiple k of a quarter turn, and the signed rest in (-pi/4, pi/4]: exact in integers.
    k = (((angle >> 61) + 1) >> 1) & 3
    y = tl.add(angle, -(k << 62), sanitize_overflow=False).to(tl.float64) * _f64(3.4061215800865545e-19)
    z = y * y
    # Taylor to y^15 and y^16: off by less than 5e-17 on this range.
    s = _f64(-7.647163731819816e-13) * z + _f64(1.6059043836821613e-10)
    s = s * z + _f64(-2.505210838544172e-08)
    s = s * z + _f64(2.7557319223985893e-06)
    s = s * z + _f64(-1.984126984126984e-04)
    s = s * z + _f64(8.333333333333333e-03)
    s = s * z + _f64(-1.6666666666666666e-01)
    s = s * z * y + y
    c = _f64(4.779477332387385e-14) * z + _f64(-1.1470745597729725e-11)
    c = c * z + _f64(2.08767569878681e-09)
    c = c * z + _f64(-2.755731922398589e-07)
    c = c * z + _f64(2.48015873015873e-05)
    c = c * z + _f64(-1.388888888888889e-03)
    c = c * z + _f64(4.1666666666666664e-02)
    c = c * z * z - 0.5 * z + 1.0
    swap = (k & 1) == 1
    cosine = tl.where(swap, s, c)
    sine = tl.where(swap, c, s)
    cosine = tl.where((k == 1) | (k == 2), -cosine, cosine)
    sine = tl.where(k >= 2, -sine, sine)
    return radius * cosine, radius * sine


@triton.jit
def gaussian_block(key_ptr, nonce_ptr, counter):
    """The 8 normals (float64) of each keystream block number `counter` (uint32, any shape)."""
    w = chacha20_block(key_ptr, nonce_ptr, counter)
    n0, n1 = _normal_pair(w[0], w[1], w[2], w[3])
    n2, n3 = _normal_pair(w[4], w[5], w[6], w[7])
    n4, n5 = _normal_pair(w[8], w[9], w[10], w[11])
    n6, n7 = _normal_pair(w[12], w[13], w[14], w[15])
    return n0, n1, n2, n3, n4, n5, n6, n7


@triton.jit
def _gaussian_kernel(out_ptr, key_ptr, nonce_ptr, first_block, count, BLOCK: tl.constexpr):
    index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    normals = gaussian_block(key_ptr, nonce_ptr, (index + first_block).to(tl.uint32))
    for j in tl.static_range(8):
        tl.store(out_ptr + index * 8 + j, normals[j], mask=index * 8 + j < count)


@triton.jit
def _philox_kernel(out_ptr, seed, count, BLOCK: tl.constexpr):
    index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    for j in tl.static_range(4):
        w0, w1, w2, w3 = tl.randint4x(seed, (index * 4 + j).to(tl.uint32))
        w0, w1 = w0.to(tl.uint32, bitcast=True), w1.to(tl.uint32, bitcast=True)
        w2, w3 = w2.to(tl.uint32, bitcast=True), w3.to(tl.uint32, bitcast=True)
        even, odd = _normal_pair(w0, w1, w2, w3)
        position = index * 8 + 2 * j
        tl.store(out_ptr + position, even, mask=position < count)
        tl.store(out_ptr + position + 1, odd, mask=position + 1 < count)


def gaussian_launch(key: Tensor, nonce: Tensor, count: int, first_block: int) -> Tensor:
    """float64 `[count]`, the normals of the blocks from `first_block` on; `key` int32 `[8]`, `nonce` int32 `[3]`.

    Raises:
        ValueError: for blocks beyond the 2^32 that one nonce has.
    """
    blocks = triton.cdiv(count, 8)
    if first_block + blocks > 2**32:
        raise ValueError(f"{count} normals from block {first_block} on; allowed: blocks 0 to 2^32 - 1 of one nonce")
    out = torch.empty(count, dtype=torch.float64, device=key.device)
    config = launch("gaussian", architecture(key.device))
    if count:
        grid = (triton.cdiv(blocks, config.block),)
        _gaussian_kernel[grid](
            out, key, nonce, first_block, count, config.block, num_warps=config.num_warps, num_stages=config.num_stages
        )
    return out


def philox_gaussian_noise(count: int, seed: int, device: torch.device | str) -> Tensor:
    """float64 `[count]` from Philox 4x32-10 and the same transform. NOT private: Philox is no cryptographic generator.

    For benchmarks, to say what ChaCha20 costs. Nothing in the product may call it.
    """
    out = torch.empty(count, dtype=torch.float64, device=device)
    config = launch("gaussian", architecture(out.device))
    if count:
        grid = (triton.cdiv(count, 8 * config.block),)
        _philox_kernel[grid](out, seed, count, config.block, num_warps=config.num_warps, num_stages=config.num_stages)
    return out


def aot_variants() -> list[Variant]:
    """The noise kernel as it is launched, and the one that it is measured against."""
    config = launch("gaussian", "any")
    pointers = {"out_ptr": "*fp64", "key_ptr": "*i32", "nonce_ptr": "*i32"}
    return [
        Variant(
            "gaussian",
            _gaussian_kernel,
            {**pointers, "first_block": "i64", "count": "i64"},
            {"BLOCK": config.block},
            config.num_warps,
        ),
        Variant(
            "gaussian philox (not private)",
            _philox_kernel,
            {"out_ptr": "*fp64", "seed": "i64", "count": "i64"},
            {"BLOCK": config.block},
            config.num_warps,
        ),
    ]
