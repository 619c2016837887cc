"""Additive secret sharing in the ring: one full-size share, and 32-byte seeds for the others.

`vector = body + sum_k PRG(seed_k) mod 2^bits`. Party 0 holds the body, party k the k-th seed, so that an upload is as
long as the vector whatever the number of parties (the seed trick of Prio, Corrigan-Gibbs and Boneh 2017). Any
parties - 1 shares are independent of the vector as long as one seed stays unknown. A seed must never be used twice.

Ours and not independently reviewed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from kernels.ring_encode import NARROW_BITS, ring_decode, ring_encode, ring_mask, subtract_mask
from secagg.randomness import KEY_BYTES, Keystream
from secagg.ring import add_wrap

__all__ = ["MaskSum", "Shares", "combine", "expand", "mask_sum", "split", "subtract_expanded"]

MaskSum = NDArray[np.int32] | NDArray[np.int64]


@dataclass(frozen=True, repr=False)
class Shares:
    """One client's shares of one vector.

    Attributes:
        body: party 0's share, int64 `[d]`; the vector itself when there is only one party.
        seeds: one 32-byte seed for each further party.
        bits: width of the ring that the vector was shared in.
    """

    body: NDArray[np.int64]
    seeds: tuple[bytes, ...]
    bits: int = 64

    def __repr__(self) -> str:
        # A share in a log next to the others would undo the sharing.
        return f"Shares(length={len(self.body)}, parties={len(self.seeds) + 1})"


def split(vector: NDArray[np.int64], parties: int, source: Keystream, bits: int = 64) -> Shares:
    """Share `vector [d]` among `parties` parties in the ring of 2^bits elements.

    Raises:
        ValueError: for fewer than one party, or a vector that is not one-dimensional int64.
    """
    if parties < 1:
        raise ValueError(f"parties is {parties}; allowed: 1 or more")
    if vector.ndim != 1 or vector.dtype != np.int64:
        raise ValueError(f"a vector is one-dimensional int64, got {vector.dtype} {vector.shape}")
    seeds = tuple(source.take(KEY_BYTES) for _ in range(parties - 1))
    body = ring_encode(torch.from_numpy(np.ascontiguousarray(vector)), seeds, bits=bits)
    return Shares(body.numpy(), seeds, bits)


def expand(seed: bytes, length: int, bits: int = 64) -> NDArray[np.int64]:
    """The share that a seed stands for: `length` ring elements of the seed's ChaCha20 keystream (RFC 8439).

    The same words as `kernels.ring_encode` subtracts, so that shares made on a GPU combine with these.
    """
    mask: NDArray[np.int64] = ring_mask(seed, length, bits).numpy()
    return mask


def mask_sum(length: int, bits: int) -> MaskSum:
    """Nothing yet: what masks of `length` elements are taken from. Narrow rings take half the memory and time."""
    return np.zeros(length, dtype=np.int32) if bits <= NARROW_BITS else np.zeros(length, dtype=np.int64)


def subtract_expanded(into: MaskSum, seed: bytes, bits: int) -> None:
    """`into -= expand(seed)` in place, right modulo 2^bits; `into` from `mask_sum`."""
    subtract_mask(torch.from_numpy(into), seed, bits)


def combine(shares: Sequence[NDArray[np.int64]], bits: int = 64) -> NDArray[np.int64]:
    """The vector of all parties' shares: their sum in the ring."""
    total = np.zeros_like(shares[0])
    for share in shares:
        add_wrap(total, share)
    vector: NDArray[np.int64] = ring_decode(torch.from_numpy(total), bits).numpy()
    return vector
