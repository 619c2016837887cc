"""Inputs that nobody should have sent, made of good ones: bytes at random, flipped, cut, spliced, repeated.

Takes a generator and good inputs; gives bytes. What knows a format is beside it: `surfaces.messages`, `values`,
`archives`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

__all__ = ["BYTES", "Mutation", "cut", "flipped", "mixed", "random_bytes", "repeated", "spliced"]

Mutation = Callable[[random.Random, Sequence[bytes]], bytes]


def random_bytes(rng: random.Random, parts: Sequence[bytes]) -> bytes:
    """Anything."""
    return rng.randbytes(rng.randrange(0, 600))


def flipped(rng: random.Random, parts: Sequence[bytes]) -> bytes:
    """One to three bytes changed."""
    part = bytearray(rng.choice(parts))
    for _ in range(rng.randrange(1, 4)):
        part[rng.randrange(len(part))] ^= rng.randrange(1, 256)
    return bytes(part)


def cut(rng: random.Random, parts: Sequence[bytes]) -> bytes:
    """A beginning, with or without something after it."""
    part = rng.choice(parts)
    return part[: rng.randrange(len(part))] + rng.randbytes(rng.choice([0, 0, 1, 40]))


def spliced(rng: random.Random, parts: Sequence[bytes]) -> bytes:
    """The beginning of one and the end of another."""
    one, two = rng.choice(parts), rng.choice(parts)
    at, cut_at = rng.randrange(len(one)), rng.randrange(len(two))
    joined = one[:at] + two[cut_at:]
    return joined if joined not in parts else joined[:-1]


def repeated(rng: random.Random, parts: Sequence[bytes]) -> bytes:
    """A stretch, or a whole line, that comes twice."""
    part = rng.choice(parts)
    lines = part.splitlines(keepends=True)
    if len(lines) > 1 and rng.random() < 0.5:
        at = rng.randrange(len(lines))
        lines.insert(rng.randrange(len(lines) + 1), lines[at])
        return b"".join(lines)
    start = rng.randrange(len(part))
    stop = min(len(part), start + rng.randrange(1, 200))
    return part[:stop] + part[start:stop] * rng.choice([1, 1, 5]) + part[stop:]


BYTES: tuple[Mutation, ...] = (random_bytes, flipped, flipped, cut, spliced, repeated)


def mixed(rng: random.Random, parts: Sequence[bytes], *more: Callable[[random.Random], bytes]) -> bytes:
    """Bytes as above in about half of all cases, else one of the format's own."""
    if more and rng.random() < 0.6:
        return rng.choice(more)(rng)
    return rng.choice(BYTES)(rng, parts)
