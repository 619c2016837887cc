"""Gaussian noise from a ChaCha20 keystream: the float mechanism, with tails to 9.4 standard deviations.

Takes a 32-byte key and a nonce; normal i is a function of them and i alone, on a CPU and on a GPU, so that the same
bits give the same noise wherever it is drawn. It must never fall back on a library generator: those are predictable,
and end at 5.8 standard deviations in float32.

Ours and not independently reviewed.
"""

from __future__ import annotations

import math
import threading

import torch
from torch import Tensor

from kernels.backend import runs_triton
from kernels.chacha import BLOCK_WORDS, fill_words, key_tensors

__all__ = ["NORMALS_PER_BLOCK", "add_gaussian_noise", "add_gaussian_noise_", "gaussian_noise"]

# A pair of normals takes four 32-bit words: 64 bits of radius, 64 bits of angle.
NORMALS_PER_BLOCK = BLOCK_WORDS // 2
# Normals made at a time on a CPU: bounds the working memory.
_CHUNK = 9 * 2**15


def gaussian_noise(count: int, key: bytes, nonce: bytes, device: torch.device | str = "cpu", first: int = 0) -> Tensor:
    """Normals number `first` to `first + count - 1` of the stream, float64 `[count]`, standard normal.

    Box and Muller 1958 on 64-bit words w of the keystream: radius `sqrt(-2 ln |w + 1/2| 2^-63)`, angle `pi w' 2^-63`;
    the cosine gives the even, the sine the odd normals.

    Args:
        count: how many.
        key: 32 fresh bytes; a (key, nonce) pair is used for one purpose.
        nonce: 12 bytes.
        device: where they are wanted; a GPU makes them itself.
        first: a multiple of 8 (one block of the keystream).

    Raises:
        ValueError: for a key or nonce of another length, or a `first` that is no multiple of 8.
    """
    if first % NORMALS_PER_BLOCK or first < 0:
        raise ValueError(f"first is {first}; allowed: multiples of {NORMALS_PER_BLOCK}")
    where = torch.empty(0, device=device)
    if runs_triton(where):
        from kernels.gpu.gaussian import gaussian_launch

        words = key_tensors(key, nonce, where.device)
        return gaussian_launch(*words, count, first // NORMALS_PER_BLOCK)
    out = torch.empty(count, dtype=torch.float64, device=device)
    for start in range(0, count, _CHUNK):
        part = out[start : start + _CHUNK]
        room, pairs = _polar(key, nonce, len(part), (first + start) // NORMALS_PER_BLOCK)
        normals = room.joined(pairs)
        torch.mul(room.radius[:pairs], room.cosine[:pairs], out=normals[:, 0])
        torch.mul(room.radius[:pairs], room.sine[:pairs], out=normals[:, 1])
        part.copy_(normals.view(-1)[: len(part)])
    return out


def add_gaussian_noise(total: Tensor, std: float, key: bytes, nonce: bytes) -> Tensor:
    """`total + std * N(0, 1)`, one normal per coordinate in row-major order.

    Args:
        total: float tensor of any shape.
        std: standard deviation >= 0 of every coordinate, in the units of `total`.
        key: 32 fresh bytes from the operating system.
        nonce: 12 bytes; a (key, nonce) pair is used once.

    Returns:
        A new tensor of `total`'s dtype; the sum is rounded to it once.

    Raises:
        ValueError: if `std` is negative or not finite, or key or nonce have another length.
    """
    return add_gaussian_noise_(total.clone(memory_format=torch.contiguous_format), std, key, nonce)


def add_gaussian_noise_(total: Tensor, std: float, key: bytes, nonce: bytes) -> Tensor:
    """`add_gaussian_noise` in place, on a contiguous tensor; returns it."""
    if not 0 <= std < float("inf"):
        raise ValueError(f"std must be finite and not negative, got {std}")
    flat = total.view(-1)
    if runs_triton(total):
        flat.add_(gaussian_noise(len(flat), key, nonce, total.device), alpha=std)
        return total
    for start in range(0, len(flat), _CHUNK):
        part = flat[start : start + _CHUNK]
        room, pairs = _polar(key, nonce, len(part), start // NORMALS_PER_BLOCK)
        # Computed in float64 and rounded once, also for a float32 total.
        wide = room.joined(pairs)
        wide.view(-1)[: len(part)].copy_(part)
        wide[:, 0].addcmul_(room.radius[:pairs], room.cosine[:pairs], value=std)
        wide[:, 1].addcmul_(room.radius[:pairs], room.sine[:pairs], value=std)
        part.copy_(wide.view(-1)[: len(part)])
    return total


def _polar(key: bytes, nonce: bytes, count: int, first_block: int) -> tuple[_Scratch, int]:
    """Radius, cosine and sine of the pairs that at most `_CHUNK` normals need, valid until this thread's next call.

    Few operations on long vectors, for their number matters beside a private step's; on memory that stays and is small
    enough for a processor's cache, for fresh pages would cost more than the arithmetic.
    """
    pairs = -(-count // 2)
    room = _scratch.grown(pairs)
    words = fill_words(room.words[: 4 * pairs], key, nonce, first_block).view(torch.int64).view(pairs, 2)
    # (2 w + 1) 2^-64 in one operation: symmetric around zero, never zero, full precision near it.
    radius = torch.add(room.half_step, words[:, 0], alpha=2.0**-63, out=room.radius[:pairs])
    radius.square_().log_().neg_().sqrt_()
    angle = torch.mul(words[:, 1], room.half_turn, out=room.sine[:pairs])
    torch.cos(angle, out=room.cosine[:pairs])
    angle.sin_()
    return room, pairs


class _Scratch(threading.local):
    """One thread's working memory for `pairs` pairs of normals, grown as needed up to 6 MB."""

    pairs = 0

    def grown(self, pairs: int) -> _Scratch:
        """Itself, with room for so many."""
        if pairs > self.pairs:
            self.pairs = pairs
            self.words = torch.empty(4 * pairs, dtype=torch.int32)
            self.radius, self.cosine, self.sine = torch.empty(3, pairs, dtype=torch.float64)
            self.half_step = torch.tensor([2.0**-64], dtype=torch.float64)
            self.half_turn = torch.tensor([math.pi * 2.0**-63], dtype=torch.float64)
        return self

    def joined(self, pairs: int) -> Tensor:
        """Room for the pairs side by side, float64 `[pairs, 2]`, in the words' place."""
        return self.words[: 4 * pairs].view(torch.float64).view(pairs, 2)


_scratch = _Scratch()
