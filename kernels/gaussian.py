"""Gaussian noise on a tensor from given random words: the float mechanism, calibrated as the idealised one.

Takes 64-bit random words from the caller's keystream, so that it holds no random state of its own and the same
words give the same noise. It must never fall back on a library generator: those are predictable.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["add_gaussian_noise", "gaussian_from_words"]


def gaussian_from_words(words: Tensor) -> Tensor:
    """Standard normal float64 values, one per int64 random word (any shape).

    Inverse distribution function with the sign taken from one bit and the tail probability from 63, so that the
    reachable range is symmetric and extends to 9.1 standard deviations (`torch.randn` in float32 ends at 5.8).
    """
    sign = torch.where(words < 0, -1.0, 1.0).to(torch.float64)
    magnitude = (words & (2**63 - 1)).to(torch.float64)
    # Probability of a half-normal exceeding the value, in (0, 1]; the half step keeps it off zero.
    tail = ((magnitude + 0.5) * 2.0**-63).clamp(max=1.0)
    normal: Tensor = sign * -torch.special.ndtri(tail * 0.5)
    return normal


def add_gaussian_noise(total: Tensor, std: float, words: Tensor) -> Tensor:
    """`total + std * N(0, 1)`, one normal per coordinate.

    Args:
        total: float tensor of any shape.
        std: standard deviation >= 0 of every coordinate, in the units of `total`.
        words: int64 tensor of the same shape: fresh cryptographic random words, used once.

    Returns:
        A new tensor of `total`'s dtype.

    Raises:
        ValueError: if the shapes differ or `std` is negative or not finite.
    """
    if words.shape != total.shape or words.dtype != torch.int64:
        raise ValueError(f"words must be int64 of shape {tuple(total.shape)}, got {words.dtype} {tuple(words.shape)}")
    if not 0 <= std < float("inf"):
        raise ValueError(f"std must be finite and not negative, got {std}")
    return total + (std * gaussian_from_words(words)).to(total.dtype)
