"""Packing keeps every element modulo 2^bits, without gaps, in one way only; adding packed vectors is linear."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import secagg.packing
from secagg.packing import add_packed, check_packed, pack, packed_bytes, packed_sum, ring_sum_vector, unpack

BITS = st.integers(2, 64)
EXTREMES = [0, 1, -1, 2**31, -(2**31), 2**62, -(2**62), 2**63 - 1, -(2**63)]


def _vectors(length):
    elements = st.one_of(st.sampled_from(EXTREMES), st.integers(-(2**63), 2**63 - 1))
    return st.lists(elements, min_size=length, max_size=length).map(lambda values: np.array(values, dtype=np.int64))


def _random(length, seed):
    return np.random.default_rng(seed).integers(-(2**63), 2**63 - 1, length, dtype=np.int64, endpoint=True)


def _reference(vector, bits):
    """The module's layout, written with Python's whole numbers."""
    elements = [int(element) % 2**bits for element in vector]
    width = next(width for width in (8, 16, 32, 64) if bits <= width)
    lanes = len(elements) // width
    rows = [[0] * lanes for _ in range(bits)]
    for lane in range(lanes):
        leftover = sum(elements[(bits + index) * lanes + lane] << index * bits for index in range(width - bits))
        for row in range(bits):
            spare = leftover >> row * (width - bits) & 2 ** (width - bits) - 1
            rows[row][lane] = elements[row * lanes + lane] | spare << bits
    transposed = b"".join(word.to_bytes(width // 8, "little") for words in rows for word in words)
    rest = elements[width * lanes :]
    number = sum(element << place * bits for place, element in enumerate(rest))
    return transposed + number.to_bytes(-(-len(rest) * bits // 8), "little")


def _signed(vector, bits):
    half = 2 ** (bits - 1)
    return [(int(element) + half) % 2**bits - half for element in vector]


@given(st.data(), BITS, st.integers(0, 300))
@settings(max_examples=150, deadline=None)
def test_unpacking_gives_the_representatives_around_zero(data, bits, length):
    vector = data.draw(_vectors(length)) if length < 8 else _random(length, data.draw(st.integers(0, 2**32)))
    packed = pack(vector, bits)
    assert len(packed) == packed_bytes(length, bits) == -(-length * bits // 8)
    assert unpack(packed, length, bits).tolist() == _signed(vector, bits)


@pytest.mark.parametrize("bits", range(2, 65))
def test_the_bytes_are_those_of_the_documented_layout(bits, monkeypatch):
    monkeypatch.setattr(secagg.packing, "_LANES", 3)
    for length in (0, 1, 63, 64, 65, 3 * 64, 4 * 64 + 7, 10 * 64 + 63):
        vector = _random(length, 1000 * bits + length)
        vector[: len(EXTREMES)] = EXTREMES[:length]
        packed = pack(vector, bits)
        assert packed == _reference(vector, bits)
        assert unpack(packed, length, bits).tolist() == _signed(vector, bits)


def test_vectors_of_more_than_one_step_come_back():
    length = 32 * secagg.packing._LANES + 64 * 5 + 9
    vector = _random(length, 0)
    assert np.array_equal(unpack(pack(vector, 31), length, 31), vector << 33 >> 33)


@given(BITS, st.integers(0, 200), st.integers(1, 5), st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_adding_packed_vectors_is_adding_them_in_the_ring(bits, length, count, seed):
    vectors = [_random(length, [seed, index]) for index in range(count)]
    into = packed_sum(length, bits)
    for vector in vectors:
        add_packed(into, pack(vector, bits), bits)
    total = [sum(int(vector[place]) for vector in vectors) for place in range(length)]
    assert ring_sum_vector(into, bits).tolist() == _signed(total, bits)


def test_wrapping_around_2_to_64_stays_right():
    into = packed_sum(70, 64)
    for value in (2**63 - 1, 1):
        add_packed(into, pack(np.full(70, value, dtype=np.int64), 64), 64)
    assert ring_sum_vector(into, 64).tolist() == [-(2**63)] * 70


def test_any_part_of_a_buffer_is_read():
    vector = _random(200, 5)
    buffer = bytearray(b"x" + pack(vector, 40) + b"x")
    part = memoryview(buffer)[1:-1]
    assert unpack(part, 200, 40).tolist() == _signed(vector, 40)


def test_vectors_that_are_not_contiguous_are_packed_but_not_added_to():
    vector = _random(400, 6)[::2]
    packed = pack(vector, 20)
    assert unpack(packed, 200, 20).tolist() == _signed(vector, 20)
    for wrong in (np.zeros(400, np.uint32)[::2], np.zeros(200, np.int64), packed_sum(200, 33)):
        with pytest.raises(ValueError, match="contiguous uint32"):
            add_packed(wrong, packed, 20)


@given(BITS, st.integers(1, 300), st.data())
@settings(max_examples=100, deadline=None)
def test_unused_bits_that_are_not_zero_are_refused(bits, length, data):
    packed = bytearray(pack(np.zeros(length, dtype=np.int64), bits))
    unused = 8 * len(packed) - length * bits
    assert 0 <= unused < 8
    flipped = data.draw(st.integers(0, 7))
    packed[-1] ^= 128 >> flipped
    into = packed_sum(length, bits)
    if flipped < unused:
        with pytest.raises(ValueError, match="unused bits"):
            add_packed(into, packed, bits)
        assert not into.any()
    else:
        check_packed(packed, length, bits)
        assert np.count_nonzero(unpack(packed, length, bits)) == 1


@given(BITS, st.integers(0, 300), st.integers(0, 2500))
@settings(max_examples=100, deadline=None)
def test_every_other_number_of_bytes_is_refused_and_changes_nothing(bits, length, got):
    size = packed_bytes(length, bits)
    assume(got != size)
    into = packed_sum(length, bits)
    with pytest.raises(ValueError, match=f"in {size} bytes, got {got}"):
        add_packed(into, b"\xff" * got, bits)
    assert not into.any()


@given(BITS, st.integers(0, 200), st.data())
@settings(max_examples=100, deadline=None)
def test_whatever_is_read_is_what_would_be_packed(bits, length, data):
    packed = data.draw(st.binary(min_size=packed_bytes(length, bits), max_size=packed_bytes(length, bits)))
    try:
        vector = unpack(packed, length, bits)
    except ValueError:
        return
    assert pack(vector, bits) == packed


@pytest.mark.parametrize("bits", [-1, 0, 1, 65, 128])
def test_other_widths_are_refused(bits):
    vector = np.zeros(3, dtype=np.int64)
    for use in (lambda: packed_bytes(3, bits), lambda: pack(vector, bits), lambda: unpack(b"", 3, bits)):
        with pytest.raises(ValueError, match=r"allowed: 2\^2 to 2\^64"):
            use()


@pytest.mark.parametrize(
    "vector", [np.zeros(70), np.zeros(70, np.int32), np.zeros(70, np.uint64), np.zeros((2, 70), np.int64)]
)
def test_other_types_and_shapes_are_refused(vector):
    with pytest.raises(ValueError, match="one-dimensional int64"):
        pack(vector, 31)
    with pytest.raises(ValueError, match="contiguous uint32"):
        add_packed(vector, bytes(packed_bytes(len(vector), 31)), 31)
