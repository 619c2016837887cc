"""XOR shares of 32 bytes: all of them together are the secret, any fewer are uniform and independent of it.

How parties hold the seeds of XNoise's components, and how a coin is made of everybody's bytes. Shares are drawn from
the operating system. A share must never be used for two secrets.

Ours and not independently reviewed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from secagg.randomness import KEY_BYTES

__all__ = ["xor_join", "xor_split"]


def xor_split(secret: bytes, parties: int) -> tuple[bytes, ...]:
    """One share of the 32-byte `secret` for each party."""
    drawn = [os.urandom(KEY_BYTES) for _ in range(parties - 1)]
    return (*drawn, xor_join((secret, *drawn)))


def xor_join(shares: Iterable[bytes]) -> bytes:
    """The 32 bytes whose XOR shares these are."""
    joined = 0
    for share in shares:
        joined ^= int.from_bytes(share)
    return joined.to_bytes(KEY_BYTES)
