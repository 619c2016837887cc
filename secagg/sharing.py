"""Additive secret sharing in the ring: one full-size share, and 32-byte seeds for the others.

`vector = body + sum_k PRG(seed_k) mod 2^64`. Party 0 holds the body, party k the k-th seed, so that an upload is as
long as the vector whatever the number of parties (the seed trick of Prio, Corrigan-Gibbs and Boneh 2017). Any
parties - 1 shares are independent of the vector as long as one seed stays unknown. A seed must never be used twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from kernels.ring_encode import ring_encode, ring_mask
from secagg.randomness import KEY_BYTES, Keystream
from secagg.ring import add_wrap

__all__ = ["Shares", "combine", "expand", "split", "upload_bytes"]


@dataclass(frozen=True, repr=False)
class Shares:
    """One client's shares of one vector.

    Attributes:
        body: party 0's share, int64 `[d]`; the vector itself when there is only one party.
        seeds: one 32-byte seed for each further party.
    """

    body: NDArray[np.int64]
    seeds: tuple[bytes, ...]

    def __repr__(self) -> str:
        # A share in a log next to the others would undo the sharing.
        return f"Shares(length={len(self.body)}, parties={len(self.seeds) + 1})"


def split(vector: NDArray[np.int64], parties: int, source: Keystream) -> Shares:
    """Share `vector [d]` among `parties` parties.

    Raises:
        ValueError: for fewer than one party, or a vector that is not one-dimensional int64.
    """
    if parties < 1:
        raise ValueError(f"parties is {parties}; allowed: 1 or more")
    if vector.ndim != 1 or vector.dtype != np.int64:
        raise ValueError(f"a vector is one-dimensional int64, got {vector.dtype} {vector.shape}")
    seeds = tuple(source.take(KEY_BYTES) for _ in range(parties - 1))
    body = ring_encode(torch.from_numpy(np.ascontiguousarray(vector)), seeds)
    return Shares(body.numpy(), seeds)


def expand(seed: bytes, length: int) -> NDArray[np.int64]:
    """The share that a seed stands for: `length` ring elements of the seed's ChaCha20 keystream (RFC 8439).

    The same words as `kernels.ring_encode` subtracts, so that shares made on a GPU combine with these.
    """
    mask: NDArray[np.int64] = ring_mask(seed, length).numpy()
    return mask


def combine(shares: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """The vector of all parties' shares: their sum in the ring."""
    total = np.zeros_like(shares[0])
    for share in shares:
        add_wrap(total, share)
    return total


def upload_bytes(length: int, parties: int) -> int:
    """Payload bytes that one client sends for a vector of `length`."""
    return 8 * length + KEY_BYTES * (parties - 1)
