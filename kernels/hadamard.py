"""Randomised Hadamard rotation: the same vector with its weight spread evenly over the coordinates.

Orthonormal and linear, so norms stay, and a sum of rotated vectors turns back into the sum. Balanced coordinates need
fewer bits before they wrap around, hence a narrower ring and a smaller upload (Suresh et al. 2017; Kairouz et al.
2021). The signs come from a public seed and protect nothing.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from kernels.chacha import BLOCK_WORDS, NONCE_BYTES, chacha20_words

__all__ = ["rotate", "rotated_length", "unrotate"]

_BLOCK = 1024  # coordinates that are mixed with each other: H1024 = H32 (x) H32
_SIDE = 32


def rotated_length(length: int) -> int:
    """Length of a rotated vector: whole blocks of 1024, the last one a power of two."""
    whole, rest = divmod(length, _BLOCK)
    return whole * _BLOCK + (1 << (rest - 1).bit_length() if rest else 0)


def rotate(x: Tensor, seed: bytes) -> Tensor:
    """`H D x` by blocks: random signs D, orthonormal Walsh-Hadamard H.

    Args:
        x: float `[..., p]`.
        seed: 32 public bytes, the same for all who will be summed.

    Returns:
        `[..., rotated_length(p)]` with the same norm.
    """
    length = x.shape[-1]
    padded = torch.nn.functional.pad(x, (0, rotated_length(length) - length))
    return _transform(padded * _signs(padded.shape[-1], seed, x))


def unrotate(y: Tensor, seed: bytes, length: int) -> Tensor:
    """The vector `[..., length]` that `rotate` turned into `y`.

    Raises:
        ValueError: if `y` is not as long as a rotated vector of that length.
    """
    if y.shape[-1] != rotated_length(length):
        raise ValueError(f"a rotated vector of {length} has {rotated_length(length)} coordinates, got {y.shape[-1]}")
    return (_transform(y) * _signs(y.shape[-1], seed, y))[..., :length]


def _transform(x: Tensor) -> Tensor:
    """Its own inverse."""
    whole = x.shape[-1] // _BLOCK * _BLOCK
    side = _hadamard(_SIDE).to(x)
    squares = x[..., :whole].reshape(*x.shape[:-1], -1, _SIDE, _SIDE)
    parts = [(side @ squares @ side).reshape(*x.shape[:-1], whole)]
    if whole < x.shape[-1]:
        parts.append(x[..., whole:] @ _hadamard(x.shape[-1] - whole).to(x))
    return torch.cat(parts, -1)


@lru_cache(maxsize=16)
def _hadamard(size: int) -> Tensor:
    """Orthonormal and symmetric `[size, size]`, for powers of two."""
    matrix = torch.ones(1, 1, dtype=torch.float64)
    while matrix.shape[0] < size:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix / math.sqrt(size)


def _signs(length: int, seed: bytes, like: Tensor) -> Tensor:
    words = chacha20_words(seed, bytes(NONCE_BYTES), -(-length // (32 * BLOCK_WORDS)) * BLOCK_WORDS)
    bits = words[:, None] >> torch.arange(32, dtype=torch.int32) & 1
    return (1 - 2 * bits.flatten()[:length]).to(like)
