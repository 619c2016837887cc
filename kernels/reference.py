"""The specification, in float64 and one sample at a time: slow, plain, and what every kernel is tested against.

It must never be made faster: its worth is that it can be checked by eye.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = [
    "reference_chacha20_block",
    "reference_clip_and_sum",
    "reference_gaussian",
    "reference_lora_per_sample_grads",
]


def reference_lora_per_sample_grads(
    x: Tensor, grad_y: Tensor, A: Tensor, B: Tensor, scaling: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Float64 per-sample LoRA gradients; shapes as `kernels.lora_per_sample_grads`."""
    x, grad_y, A, B = (tensor.to(torch.float64) for tensor in (x, grad_y, A, B))
    grads_A, grads_B, norms = [], [], []
    for sample_x, sample_g in zip(x, grad_y, strict=True):
        grad_A = torch.zeros_like(A)
        grad_B = torch.zeros_like(B)
        for position in range(sample_x.shape[0]):
            h = A @ sample_x[position]
            u = scaling * (B.T @ sample_g[position])
            grad_A += torch.outer(u, sample_x[position])
            grad_B += scaling * torch.outer(sample_g[position], h)
        grads_A.append(grad_A)
        grads_B.append(grad_B)
        norms.append(grad_A.square().sum() + grad_B.square().sum())
    return torch.stack(grads_A), torch.stack(grads_B), torch.stack(norms)


def reference_clip_and_sum(
    grads: Tensor, clip_norm: float, segments: Tensor | None = None, scale: int | None = None
) -> Tensor:
    """Float64 (or exact integer) sum of clipped rows, one row at a time, in Python numbers.

    In integer mode a row is clipped, scaled and truncated; the result then has an integer norm of at most
    `floor(clip_norm * scale)`. Kernels may shorten a row by a relative 2^-18 more, never less.
    """
    count = 1 if segments is None else int(segments.max()) + 1
    totals = [[0.0 if scale is None else 0] * grads.shape[1] for _ in range(count)]
    for index, row in enumerate(grads.to(torch.float64).tolist()):
        if not all(math.isfinite(v) for v in row):
            continue
        norm = math.sqrt(math.fsum(v * v for v in row))
        weight = min(1.0, clip_norm / norm) if norm else 1.0
        segment = 0 if segments is None else int(segments[index])
        for k, value in enumerate(row):
            totals[segment][k] += value * weight if scale is None else int(value * weight * scale)
    result = torch.tensor(totals, dtype=torch.float64 if scale is None else torch.int64)
    return result[0] if segments is None else result


def reference_chacha20_block(key: bytes, nonce: bytes, counter: int) -> list[int]:
    """The 16 words of one ChaCha20 block (RFC 8439, section 2.3) in Python integers."""
    start = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574]
    start += [int.from_bytes(key[i : i + 4], "little") for i in range(0, 32, 4)]
    start += [counter] + [int.from_bytes(nonce[i : i + 4], "little") for i in range(0, 12, 4)]
    state = list(start)
    for _ in range(10):
        for column in ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)):
            _quarter_round(state, *column)
        for diagonal in ((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)):
            _quarter_round(state, *diagonal)
    return [(one + other) % 2**32 for one, other in zip(state, start, strict=True)]


def _quarter_round(state: list[int], a: int, b: int, c: int, d: int) -> None:
    for one, two, three, shift in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        state[one] = (state[one] + state[two]) % 2**32
        mixed = state[three] ^ state[one]
        state[three] = (mixed << shift | mixed >> (32 - shift)) % 2**32


def reference_gaussian(key: bytes, nonce: bytes, index: int) -> float:
    """Normal number `index` of the stream: Box and Muller on 64-bit words, in Python numbers."""
    words = reference_chacha20_block(key, nonce, index // 8)
    first = index % 8 // 2 * 4
    radius, angle = (_signed(words[first + i] | words[first + i + 1] << 32) for i in (0, 2))
    length = math.sqrt(-2 * math.log(abs(2 * radius + 1) * 2.0**-64))
    turn = math.pi * angle * 2.0**-63
    return length * (math.sin(turn) if index % 2 else math.cos(turn))


def _signed(word: int) -> int:
    return word - 2**64 if word >= 2**63 else word
