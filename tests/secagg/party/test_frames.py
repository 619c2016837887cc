"""Frames arrive as they were sent; whatever else arrives, or does not, ends in a `ChannelBroken`, never in a hang."""

from __future__ import annotations

import pickle
import random
import socket
import struct
import threading
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.party.frames import MAX_PAYLOAD, Channel, ChannelBroken, Frame, split_payload
from secagg.wire import encode

PREFIX = struct.Struct("!IQ")
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text()
    | st.binary(max_size=9)
    | st.floats(width=64),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
).filter(lambda value: value == value)


def pair(timeout_s=0.3):
    ours, theirs = socket.socketpair()
    return Channel(ours, timeout_s), theirs


def framed(header: bytes, payload: bytes = b"") -> bytes:
    return PREFIX.pack(len(header), len(payload)) + header + payload


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=9), st.dictionaries(st.text(max_size=5), values, max_size=4), st.lists(st.binary(max_size=99)))
def test_a_frame_arrives_as_it_was_sent(kind, facts, pieces):
    ours, theirs = pair()
    other = Channel(theirs, 0.3)
    ours.send(kind, facts, *pieces)
    got = other.receive(1.0)
    assert (got.kind, repr(got.facts), bytes(got.payload)) == (kind, repr(facts), b"".join(pieces))
    assert ours.sent == PREFIX.size + len(encode([kind, facts])) + sum(map(len, pieces))
    ours.close()
    other.close()


def test_large_payloads_pass_and_memory_is_reused_only_when_asked():
    ours, theirs = pair(5)
    other = Channel(theirs, 5)
    for reuses in (False, True):
        other.reuses_memory = reuses
        kept = []
        for byte in (b"a", b"b"):
            ours.send("x", {}, byte * 50_000)
            kept.append(other.receive(1.0).payload)
        assert bytes(kept[1]) == b"b" * 50_000
        assert bytes(kept[0]) == (b"b" if reuses else b"a") * 50_000


@pytest.mark.parametrize("reuses", [False, True])
@pytest.mark.parametrize(("header", "payload"), [(2**25, 0), (len(encode(["x", {}])), MAX_PAYLOAD)])
def test_a_length_that_is_a_lie_takes_little_memory(header, payload, reuses):
    ours, theirs = pair()
    ours.reuses_memory = reuses
    theirs.sendall(PREFIX.pack(header, payload) + encode(["x", {}]) + b"abc")
    theirs.close()
    tracemalloc.start()
    with pytest.raises(ChannelBroken, match="closed by the other end"):
        ours.receive(1.0)
    assert tracemalloc.get_traced_memory()[1] < 2**25
    tracemalloc.stop()


def test_a_payload_that_outgrows_what_is_set_aside_arrives_whole():
    ours, theirs = pair(5)
    other = Channel(theirs, 5)
    sent = random.Random(1).randbytes(2**20) * 40
    for reuses in (False, True, True):
        other.reuses_memory = reuses
        sender = threading.Thread(target=ours.send, args=("x", {}, sent))
        sender.start()
        assert bytes(other.receive(5.0).payload) == sent
        sender.join()


@pytest.mark.parametrize(
    "header",
    [b"", b"\xc1", b"{}", encode(["x"]), encode(["x", []]), encode([1, {}]), encode({}), encode(["x", {}]) + b"\0",
     encode(["x", {}])[:-1], b"\xdd\xff\xff\xff\xff", b"\xc7\x05\x01hello", b"\x92\xa1x\x81\x01\x02"],
)  # fmt: skip
def test_what_is_no_header_breaks_the_channel(header):
    ours, theirs = pair()
    theirs.sendall(framed(header))
    with pytest.raises(ChannelBroken, match="a frame whose header"):
        ours.receive(1.0)


def test_a_pickle_is_bytes_that_nobody_loads():
    class Bomb:
        def __reduce__(self):
            return pytest.fail, ("a received pickle was loaded",)

    ours, theirs = pair()
    theirs.sendall(framed(pickle.dumps(Bomb())))
    with pytest.raises(ChannelBroken):
        ours.receive(1.0)


@pytest.mark.parametrize(("header", "payload"), [(2**32 - 1, 0), (3, 2**63), (2**25 + 1, 0), (3, 2**32)])
def test_an_announced_length_beyond_the_bound_is_refused_before_memory_is_taken(header, payload):
    ours, theirs = pair()
    theirs.sendall(PREFIX.pack(header, payload))
    with pytest.raises(ChannelBroken, match="longer than it may be"):
        ours.receive(1.0)


def test_silence_ends_in_a_time_out():
    ours, _theirs = pair()
    with pytest.raises(ChannelBroken, match="silent for 0.05 s"):
        ours.receive(0.05)


@pytest.mark.parametrize("sent", [3, 12, 14, 30])
def test_a_sender_that_stops_half_way_ends_in_a_time_out_too(sent):
    ours, theirs = pair()
    theirs.sendall(framed(encode(["sum", {}]), bytes(100))[:sent])
    with pytest.raises(ChannelBroken, match="in the middle of a frame"):
        ours.receive(1.0)


def test_a_receiver_that_does_not_read_ends_in_a_time_out():
    ours, _theirs = pair()
    with pytest.raises(ChannelBroken, match="did not read for 0.3 s"):
        ours.send("share", {}, bytes(2**24))


def test_the_other_ends_death_is_noticed():
    ours, theirs = pair()
    theirs.close()
    with pytest.raises(ChannelBroken, match="closed by the other end"):
        ours.receive(None)
    with pytest.raises(ChannelBroken, match="cannot send"):
        ours.send("close")


def test_a_closed_channel_says_so_however_often_it_is_closed():
    ours, _theirs = pair()
    ours.close()
    ours.close()
    assert ours.fileno() == -1
    for use in (lambda: ours.poll(0), lambda: ours.receive(0.1)):
        with pytest.raises(ChannelBroken, match="closed"):
            use()


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_frame_or_break_the_channel(sent):
    ours, theirs = pair()
    theirs.sendall(sent)
    theirs.close()
    try:
        while isinstance(ours.receive(1.0), Frame):
            pass
    except ChannelBroken:
        pass
    ours.close()


def test_a_payload_is_split_at_the_announced_lengths_or_not_at_all():
    assert [bytes(piece) for piece in split_payload(b"abcdef", [1, 0, 5])] == [b"a", b"", b"bcdef"]
    for lengths in ([1], [7], [-1, 7], [3, True, 2], ["6"], [2.0, 4]):
        with pytest.raises(ChannelBroken, match="a frame whose pieces"):
            split_payload(b"abcdef", lengths)
