"""What was encoded is decoded, nothing else is, and nothing takes more memory than it sent."""

from __future__ import annotations

import contextlib
import dataclasses

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.messages import RoundNoise, RoundSpec
from secagg.wire import WireError, decode, encode, ids_of, ranges_of, spec_from_wire, spec_to_wire

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
SPEC = RoundSpec("run", 3, 1, range(10, 20), 7, 4, 2**16, 31, "ab", RoundNoise("skellam", 8.0, (9.0, 5.0)), 0)


@given(values)
def test_what_was_encoded_is_decoded(value):
    again = decode(encode(value))
    assert again == value
    assert type(again) is type(value)


@given(st.binary(max_size=60))
@settings(max_examples=500)
def test_any_bytes_are_an_encoding_or_a_wire_error(data):
    with contextlib.suppress(WireError):
        assert encode(decode(data)) == data


@given(values, st.integers(0, 10**6), st.integers(1, 255))
@settings(max_examples=300)
def test_changed_and_cut_encodings_are_never_taken_for_the_same(value, place, change):
    data = bytearray(encode(value))
    data[place % len(data)] ^= change
    for wrong in (bytes(data), bytes(data)[:-1], encode(value) + b"\0"):
        with contextlib.suppress(WireError):
            assert encode(decode(wrong)) == wrong


@pytest.mark.parametrize(
    "data",
    [b"", b"\x01\x01", b"\xcd\x00\x01", b"\xd9\x01a", b"\xdc\x00\x01\x01", b"\x82\xa1a\x01\xa1a\x02", b"\x81\x01\x02",
     b"\xdd\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc7\x01\x05a", b"\xd4\x05a",
     b"\xd6\xff\x00\x00\x00\x00", b"\xa1\xff", b"\xa3\xed\xa0\x80", b"\x91" * 100_000 + b"\x01",
     b"\x91" * 2000 + b"\x01",
     b"\x81\xa1k" * 3000 + b"\x01"],
    ids=range(18),
)  # fmt: skip
def test_what_encoding_would_not_have_written_is_refused(data):
    with pytest.raises(WireError):
        decode(data)


@given(st.sets(st.integers(0, 2**63 - 1) | st.integers(0, 40), max_size=40))
def test_ids_travel_as_ranges(ids):
    ranges = ranges_of(ids)
    assert sorted(ids) == list(ids_of(ranges))
    assert len(ranges) == sum(number - 1 not in ids for number in ids)


def test_a_range_of_ids_stays_one():
    assert ranges_of(range(5, 10_000)) == [[5, 10_000]]
    assert ids_of([[5, 10_000]]) == range(5, 10_000)
    assert ranges_of(range(3, 3)) == []
    assert len(ids_of([])) == 0


@pytest.mark.parametrize(
    "wrong",
    [None, {}, 3, [3], [[1]], [[1, 2, 3]], [[2, 1]], [[1, 1]], [[1, 3], [3, 4]], [[1, 3], [2, 5]], [[5, 6], [1, 2]],
     [[-1, 2]], [[0, 2**63 + 1]], [[0, 2**21]], [[True, 2]], [[0.0, 1]], [["0", 1]]],
    ids=repr,
)  # fmt: skip
def test_what_is_no_set_of_ids_is_refused_before_it_takes_memory(wrong):
    with pytest.raises(WireError):
        ids_of(wrong)


def test_a_round_of_more_clients_than_usual_is_taken_by_whom_says_so():
    value = spec_to_wire(dataclasses.replace(SPEC, clients=range(2**20 + 1)))
    with pytest.raises(WireError, match="more than 1048576 ids"):
        spec_from_wire(value)
    assert len(spec_from_wire(value, 2**20 + 1).clients) == 2**20 + 1


def test_a_specification_comes_back_and_equal_ones_are_equal_bytes():
    for spec in (SPEC, dataclasses.replace(SPEC, clients=frozenset({3, 5, 9, 11}), noise=RoundNoise(), norm_bound=0)):
        assert spec_to_wire(spec_from_wire(decode(encode(spec_to_wire(spec))))) == spec_to_wire(spec)
    same = dataclasses.replace(SPEC, clients=frozenset(range(10, 20)))
    assert encode(spec_to_wire(same)) == encode(spec_to_wire(SPEC))


@pytest.mark.parametrize("index", range(11))
@pytest.mark.parametrize(
    "wrong", [None, -1, "x" * 300, b"x", [], [[0, 2**40]], 2.5, True, {}, 2**63], ids=lambda v: repr(v)[:9]
)
def test_a_specification_with_a_wrong_part_is_refused(index, wrong):
    whole = spec_to_wire(SPEC)
    changed = [*whole[:index], wrong, *whole[index + 1 :]]
    try:
        spec = spec_from_wire(changed)
    except WireError:
        return
    assert spec_to_wire(spec)[index] == wrong, "only values that are possible there are taken"


@pytest.mark.parametrize(
    "noise",
    [[], ["skellam"], ["skellam", 8.0], ["skellam", 8, []], ["skellam", 8.0, [1]], ["none", 8.0, []],
     ["skellam", 8.5, []], ["skellam", 3.0, []], ["skellam", float("nan"), []], ["skellam", float("inf"), []],
     ["", 8.0, []], ["skellam", 0.0, []], ["gaussian", 0.0, [8.0]], ["skellam", 8.0, [8.0, 2.0**31]],
     ["skellam", 8.0, "x"]],
    ids=repr,
)  # fmt: skip
def test_noise_that_cannot_be_drawn_is_refused_when_the_round_opens(noise):
    with pytest.raises(WireError):
        spec_from_wire([*spec_to_wire(SPEC)[:9], noise, 0])


@pytest.mark.parametrize("wrong", [None, [], [1] * 11, {"run": 1}, spec_to_wire(SPEC)[:-1], [*spec_to_wire(SPEC), 0]])
def test_what_is_no_specification_is_refused(wrong):
    with pytest.raises(WireError):
        spec_from_wire(wrong)


def test_an_encoding_is_plain_msgpack():
    assert msgpack.unpackb(encode({"a": [1, b"x", "y", None]})) == {"a": [1, b"x", "y", None]}
