"""Ring elements of 2 to 64 bits as bytes without gaps: what a client uploads and party 0 adds.

A vector of n elements takes exactly ceil(n * b / 8) bytes for rings of 2^b elements. Let W be the narrowest of 8, 16,
32 and 64 bits that holds an element, and L = n // W. The first W * L elements lie transposed, as b rows of L words of
W bits: the low b bits of row i are elements i * L to (i + 1) * L - 1, and the words' other W - b bits, row after row,
hold the W - b rows of elements that are left, from their lowest bits up. So adding a packed vector is hardly more than
adding b whole rows. The last n - W * L elements, at most 63, follow as one little-endian number.

There is one packing of a vector and no other is read: the unused bits of the last byte are zero. Nothing here checks
who packed a vector; that is the envelope's work.

Ours and not independently reviewed.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["RingSum", "add_packed", "check_packed", "pack", "packed_bytes", "packed_sum", "ring_sum_vector", "unpack"]

# A sum of packed vectors, held in words of the narrowest width; what is above an element's bits means nothing.
RingSum = NDArray[np.unsignedinteger[Any]]

_LANES = 2**15  # worked on at a time: a row that many others are added to stays in the processor's cache


def packed_bytes(length: int, bits: int) -> int:
    """Bytes of `length` elements of a ring of 2^bits.

    Raises:
        ValueError: for another width than 2 to 64.
    """
    if not 2 <= bits <= 64:
        raise ValueError(f"a ring of 2^{bits} elements; allowed: 2^2 to 2^64")
    return (length * bits + 7) // 8


def pack(vector: NDArray[np.int64], bits: int) -> bytes:
    """The lowest `bits` bits of each element.

    Args:
        vector: int64 `[n]`, any representatives modulo 2^bits.
        bits: ring width, 2 to 64.

    Raises:
        ValueError: for another width, or a vector that is not one-dimensional int64.
    """
    size = packed_bytes(len(vector), bits)
    if vector.ndim != 1 or vector.dtype != np.dtype("=i8"):
        raise ValueError(f"a vector is one-dimensional int64, got {vector.dtype} {vector.shape}")
    width, ones = _width(bits), (1 << bits) - 1
    lanes = len(vector) // width
    elements = vector[: lanes * width].astype(_word(bits)).reshape(width, lanes)
    elements &= elements.dtype.type(ones)
    words = elements[:bits].copy()
    for part in _column_parts(lanes):
        for row, leftovers in enumerate(_leftovers(bits)):
            for element, shift in leftovers:
                field = elements[element, part] >> shift if shift >= 0 else elements[element, part] << -shift
                words[row, part] |= field << bits
    number = sum((element & ones) << (place * bits) for place, element in enumerate(vector[lanes * width :].tolist()))
    packed: bytes = words.tobytes() + number.to_bytes(size - words.nbytes, "little")
    return packed


def unpack(packed: bytes | bytearray | memoryview, length: int, bits: int) -> NDArray[np.int64]:
    """The vector of `pack`: int64 `[length]` from -2^(bits-1) to 2^(bits-1) - 1.

    Raises:
        ValueError: as `check_packed`.
    """
    total = packed_sum(length, bits)
    add_packed(total, packed, bits)
    return ring_sum_vector(total, bits)


def packed_sum(length: int, bits: int) -> RingSum:
    """A sum of no packed vectors yet."""
    packed_bytes(length, bits)
    return np.zeros(length, dtype=_word(bits))


def ring_sum_vector(total: RingSum, bits: int) -> NDArray[np.int64]:
    """A sum's elements as int64 `[length]` from -2^(bits-1) to 2^(bits-1) - 1."""
    vector = total.astype(np.int64)
    vector <<= 64 - bits
    vector >>= 64 - bits
    return vector


def add_packed(into: RingSum, packed: bytes | bytearray | memoryview, bits: int) -> None:
    """Add a packed vector in place.

    Args:
        into: from `packed_sum` for the same width; unchanged if an error is raised.
        packed: from `pack`.
        bits: ring width, 2 to 64.

    Raises:
        ValueError: as `check_packed`, or if `into` is a sum for another width.
    """
    check_packed(packed, len(into), bits)
    width = _width(bits)
    lanes = len(into) // width
    if into.dtype != _word(bits) or not into.flags.c_contiguous:
        raise ValueError(f"a sum in a ring of 2^{bits} elements is contiguous {_word(bits)}, got {into.dtype}")
    rows = into[: lanes * width].reshape(width, lanes)
    words = np.frombuffer(packed, dtype=_word(bits).newbyteorder("<"), count=lanes * bits).reshape(bits, lanes)
    room = np.empty(min(lanes, _LANES), dtype=into.dtype)
    for part in _column_parts(lanes):
        for row, leftovers in enumerate(_leftovers(bits)):
            source = words[row, part]
            # The leftover bits come along above an element's own; they do not count.
            np.add(rows[row, part], source, out=rows[row, part])
            for element, shift in leftovers:
                field = np.right_shift(source, bits - min(shift, 0), out=room[: source.size])
                if shift > 0:
                    field <<= shift
                rows[element, part] += field
    rest = into[lanes * width :]
    number, ones = _rest(packed, lanes, bits), (1 << bits) - 1
    rest += np.array([number >> (place * bits) & ones for place in range(len(rest))], dtype=into.dtype)


def check_packed(packed: bytes | bytearray | memoryview, length: int, bits: int) -> None:
    """Refuse bytes that `pack` makes of no vector of this length; costs nothing next to adding them.

    Raises:
        ValueError: for another width than 2 to 64, another number of bytes, or unused bits that are not zero.
    """
    size = packed_bytes(length, bits)
    if len(packed) != size:
        raise ValueError(f"{length} elements of {bits} bits are packed in {size} bytes, got {len(packed)}")
    width = _width(bits)
    if _rest(packed, length // width, bits) >> (length % width * bits):
        raise ValueError("the unused bits at the end of a packed vector are not zero")


def _width(bits: int) -> int:
    return next(width for width in (8, 16, 32, 64) if bits <= width)


def _word(bits: int) -> np.dtype[Any]:
    return np.dtype(f"u{_width(bits) // 8}")


@cache  # at most 63 widths
def _leftovers(bits: int) -> tuple[tuple[tuple[int, int], ...], ...]:
    """For each row (element, shift): its words' leftover bits are bits `shift` and on of that row of elements."""
    spare = _width(bits) - bits
    return tuple(
        tuple(
            (bits + index, row * spare - index * bits)
            for index in range(spare)
            if row * spare < (index + 1) * bits and (row + 1) * spare > index * bits
        )
        for row in range(bits)
    )


def _column_parts(lanes: int) -> list[slice]:
    return [slice(start, start + _LANES) for start in range(0, lanes, _LANES)]


def _rest(packed: bytes | bytearray | memoryview, lanes: int, bits: int) -> int:
    """The elements behind the transposed part as one number."""
    return int.from_bytes(packed[lanes * bits * _width(bits) // 8 :], "little")
