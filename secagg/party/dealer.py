"""The dealer: a third party that hands the parties correlated randomness, and never sees a share or a result.

Parties that multiply shares need numbers that are random to each of them and related across them (Beaver 1991). The
dealer makes them from one fresh 32-byte seed a party, which the party expands by itself, and sends the last party in
addition the few words in which a relation differs from chance; so a dealing costs kilobytes, whatever the length.

One dealing, all of it uniform to any parties - 1 of them:

* a vector `a [length]` in additive shares, and the one number `<a, a>`;
* `signs` ring elements in additive shares, and the bits of the same numbers in XOR shares;
* `ands` words u, v in XOR shares, and u & v.

It is trusted: with any one party it can read what is checked. So it is run by somebody who runs no party, follows the
protocol, and is given only these orders. Nothing is dealt twice.

Ours and not independently reviewed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from kernels.chacha import fill_words
from secagg.limits import MAX_LENGTH
from secagg.party.frames import Channel, ChannelBroken, Frame
from secagg.randomness import KEY_BYTES

__all__ = ["Order", "Scalars", "correction", "deal", "dealt_scalars", "dealt_vector"]

# What a dealer makes at most in one dealing besides the vector.
_MAX_SIGNS = 2**12
_MAX_ANDS = 2**16
# Coordinates expanded at a time, a multiple of a ChaCha20 block's 8 words: they stay in the processor's cache.
_CHUNK = 2**15
_VECTOR_NONCE, _SCALAR_NONCE = b"dealt vector", b"dealt scalar"


@dataclass(frozen=True)
class Order:
    """What one dealing consists of; all parties send the same one.

    Attributes:
        length: coordinates of the vector `a`.
        signs: masks of sign tests.
        ands: words of triples for AND.
    """

    length: int
    signs: int
    ands: int

    @property
    def correction_bytes(self) -> int:
        """Size of what the last party gets besides its seed."""
        return 8 * (1 + self.signs + self.ands)

    def facts(self, number: int) -> dict[str, Any]:
        """The order as it travels, as the round's dealing `number`."""
        return {"number": number, **asdict(self)}


@dataclass(frozen=True, repr=False)
class Scalars:
    """One party's shares of all that is not the vector, int64 views of one buffer.

    Attributes:
        square: `<a, a>`, `[1]`, additive.
        bits: the sign masks' bits `[signs]`, XOR.
        products: u & v `[ands]`, XOR.
        masks: the sign masks `[signs]`, additive.
        left, right: u and v `[ands]`, XOR.
    """

    square: Tensor
    bits: Tensor
    products: Tensor
    masks: Tensor
    left: Tensor
    right: Tensor


def dealt_vector(seed: bytes, first: int, count: int) -> Tensor:
    """Coordinates `first` to `first + count - 1` of a party's share of the vector, int64; `first` a multiple of 8."""
    out = torch.empty(count, dtype=torch.int64)
    fill_words(out.view(torch.int32), seed, _VECTOR_NONCE, first // 8)
    return out


def dealt_scalars(seed: bytes, order: Order, corrections: bytes | memoryview = b"") -> Scalars:
    """The rest of a party's share; `corrections` are the last party's, whose related words come from the dealer."""
    sizes = [1, order.signs, order.ands, order.signs, order.ands, order.ands]
    words = torch.empty(sum(sizes), dtype=torch.int64)
    fill_words(words.view(torch.int32), seed, _SCALAR_NONCE)
    if corrections:
        words[: len(corrections) // 8] = torch.frombuffer(bytearray(corrections), dtype=torch.int64)
    return Scalars(*torch.split(words, sizes))


def correction(order: Order, seeds: Sequence[bytes]) -> bytes:
    """The last party's words that make the shares of `seeds` related: of `<a, a>`, the masks' bits, and u & v."""
    square = torch.zeros((), dtype=torch.int64)
    for first in range(0, order.length, _CHUNK):
        count = min(_CHUNK, order.length - first)
        part = dealt_vector(seeds[0], first, count)
        for seed in seeds[1:]:
            part += dealt_vector(seed, first, count)
        square += torch.dot(part, part)
    parties = [dealt_scalars(seed, order) for seed in seeds]
    bits, left, right = parties[0].masks.clone(), parties[0].left.clone(), parties[0].right.clone()
    for other in parties[1:]:
        bits += other.masks
        left ^= other.left
        right ^= other.right
    products = left & right
    for other in parties[:-1]:
        square -= other.square[0]
        bits ^= other.bits
        products ^= other.products
    return torch.cat([square.reshape(1), bits, products]).numpy().tobytes()


def deal(channels: Mapping[int, Channel], timeout_s: float, max_length: int = MAX_LENGTH) -> int:
    """Deal to the parties of one round until they hang up; returns how many times.

    The parties order in lock-step. Whatever is out of step closes every channel, so that all parties notice.

    Args:
        channels: to every party, by rank; closed at the end.
        timeout_s: longest wait for the others once party 0 has ordered.
        max_length: longest vector that is dealt.

    Raises:
        ChannelBroken: naming the party that is gone, silent, or orders what is impossible or not what the others do.
    """
    ranks, dealings = sorted(channels), 0
    try:
        while True:
            try:
                frames = [channels[ranks[0]].receive(None)]
            except ChannelBroken:
                return dealings
            frames += [_from(rank, channels[rank], timeout_s) for rank in ranks[1:]]
            order = _agreed(frames, dealings, max_length)
            seeds = [os.urandom(KEY_BYTES) for _ in ranks]
            for rank, seed in zip(ranks, seeds, strict=True):
                last = correction(order, seeds) if rank == ranks[-1] else b""
                channels[rank].send("dealt", frames[0].facts, seed, last)
            dealings += 1
    finally:
        for channel in channels.values():
            channel.close()


def _from(rank: int, channel: Channel, timeout_s: float) -> Frame:
    try:
        return channel.receive(timeout_s)
    except ChannelBroken as error:
        raise ChannelBroken(f"party {rank}: {error}") from None


def _agreed(frames: Sequence[Frame], number: int, max_length: int) -> Order:
    first = frames[0]
    if any((frame.kind, frame.facts) != (first.kind, first.facts) for frame in frames):
        raise ChannelBroken("the parties order different dealings")
    facts = dict(first.facts)
    if first.kind != "deal" or facts.pop("number", None) != number or set(facts) != {"length", "signs", "ands"}:
        raise ChannelBroken("the parties order something else than the next dealing")
    allowed = {"length": max_length, "signs": _MAX_SIGNS, "ands": _MAX_ANDS}
    for name, most in allowed.items():
        if type(facts[name]) is not int or not 1 <= facts[name] <= most:
            raise ChannelBroken(f"an order of {facts[name]!r} {name}; allowed: 1 to {most}")
    return Order(**facts)
