"""Frames arrive as they were sent; whatever else arrives, or does not, ends in a `ChannelBroken`, never in a hang."""

from __future__ import annotations

import json
import pickle
import socket
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.party.frames import Channel, ChannelBroken, Frame

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=6,
)


def pair(receive_timeout_s=0.2):
    ours, theirs = socket.socketpair()
    return Channel(ours, 0.2, receive_timeout_s), theirs


def framed(body: bytes) -> bytes:
    """`body` as multiprocessing's connection puts it on the wire."""
    return struct.pack("!i", len(body)) + body


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(max_size=5), json_values, max_size=4), st.binary(max_size=300))
def test_a_frame_arrives_as_it_was_sent(header, payload):
    ours, theirs = pair()
    other = Channel(theirs, 0.2)
    ours.send(Frame(header, payload))
    assert other.receive(1.0) == Frame(header, payload)
    ours.close()
    other.close()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"\0", "too short"),
        (struct.pack("!I", 100) + b"{}", "header too long"),
        (struct.pack("!I", 2**32 - 1), "header too long"),
        (struct.pack("!I", 3) + b"{]}", "not JSON"),
        (struct.pack("!I", 2) + b"\xff\xfe", "not JSON"),
        (struct.pack("!I", 2) + b"[]", "not an object"),
    ],
)
def test_what_is_no_frame_breaks_the_channel(body, says):
    ours, theirs = pair()
    theirs.sendall(framed(body))
    with pytest.raises(ChannelBroken, match=says):
        ours.receive(1.0)


def test_a_pickle_is_bytes_that_nobody_loads():
    class Bomb:
        def __reduce__(self):
            return pytest.fail, ("a received pickle was loaded",)

    ours, theirs = pair()
    theirs.sendall(framed(pickle.dumps(Bomb())))
    with pytest.raises(ChannelBroken):
        ours.receive(1.0)


def test_an_announced_length_beyond_the_bound_is_refused_before_memory_is_taken():
    ours, theirs = pair()
    theirs.sendall(struct.pack("!i", -1) + struct.pack("!Q", 2**50))
    with pytest.raises(ChannelBroken):
        ours.receive(1.0)


def test_silence_ends_in_a_time_out():
    ours, _theirs = pair()
    with pytest.raises(ChannelBroken, match="silent for 0.05 s"):
        ours.receive(0.05)


def test_a_sender_that_stops_half_way_ends_in_a_time_out_too():
    ours, theirs = pair()
    header = json.dumps({"kind": "sum"}).encode()
    theirs.sendall(struct.pack("!i", 1000) + struct.pack("!I", len(header)) + header)
    with pytest.raises(ChannelBroken, match="in the middle of a frame"):
        ours.receive(1.0)


def test_a_receiver_that_does_not_read_ends_in_a_time_out():
    ours, _theirs = pair()
    with pytest.raises(ChannelBroken, match="cannot send"):
        ours.send(Frame({"kind": "share"}, bytes(2**24)))


def test_the_other_ends_death_is_noticed():
    ours, theirs = pair(None)
    theirs.close()
    with pytest.raises(ChannelBroken, match="closed by the other end"):
        ours.receive(None)
    with pytest.raises(ChannelBroken):
        ours.send(Frame({"kind": "close"}))
