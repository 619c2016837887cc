"""A hundred thousand messages that nobody should have sent: every one is refused in a sentence, and nothing crashes."""

from __future__ import annotations

import contextlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.fuzz.mutations import cut, flipped, random_bytes, spliced
from bench.fuzz.surfaces.messages import MAGIC, PREFIX, new_header, parsed, signed_again
from secagg.envelopes import OpenedPart, open_part
from secagg.messages import RoundSpec
from secagg.party.frames import ChannelBroken, Frame
from secagg.round_state import MessageRefused
from secagg.wire import WireError, encode, spec_from_wire, spec_to_wire
from tests.secagg.party.in_threads import Parties
from tests.secagg.test_envelopes import CLIENT_KEYS, SPEC, made, sealed

SHARES = {random_bytes: 15_000, flipped: 30_000, cut: 15_000, spliced: 15_000, new_header: 15_000,
          signed_again(CLIENT_KEYS[2]): 10_000}  # fmt: skip


@pytest.mark.parametrize("fuzz", SHARES, ids=lambda fuzz: fuzz.__name__)
def test_a_hundred_thousand_fuzzed_messages_crash_nothing(fuzz):
    seed = random.SystemRandom().randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    deployment, keys, _ = made(3, "roster")
    whole = [sealed(enrolment="roster") for _ in range(4)]
    parts = [part for message in whole for part in message.parts]
    for number in range(SHARES[fuzz]):
        part = fuzz(rng, parts)
        if part in parts:
            continue
        with pytest.raises(MessageRefused, match="refused: "):
            open_part(part, SPEC, deployment, number % 3, keys[number % 3])


def test_the_hundred_thousand_are_a_hundred_thousand():
    assert sum(SHARES.values()) == 100_000


def test_headers_that_are_fuzzed_are_of_the_version_that_is_read():
    for part in sealed(enrolment="roster").parts:
        header, rest = parsed(part)
        assert part == PREFIX.pack(MAGIC, len(header)) + header + rest


def test_the_parts_that_are_fuzzed_are_good_ones():
    deployment, keys, _ = made(3, "roster")
    for party, part in enumerate(sealed(enrolment="roster").parts):
        assert isinstance(open_part(part, SPEC, deployment, party, keys[party]), OpenedPart)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**64 - 1) | st.text(max_size=5) | st.binary(max_size=40) | st.floats(),
    lambda inner: st.lists(inner, max_size=12) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=15,
)


@given(st.lists(values, min_size=11, max_size=11) | values, st.binary(max_size=300))
@settings(max_examples=500, deadline=None)
def test_structured_headers_crash_nothing(header, rest):
    deployment, keys, _ = made(3, "roster")
    try:
        packed = encode(header)
    except (ValueError, OverflowError):
        return
    with pytest.raises(MessageRefused):
        open_part(PREFIX.pack(MAGIC, len(packed)) + packed + rest, SPEC, deployment, 0, keys[0])


@given(st.integers(0, 10), values)
@settings(max_examples=500, deadline=None)
def test_any_values_are_a_round_or_a_wire_error(index, value):
    whole = spec_to_wire(SPEC)
    for wrong in (value, [*whole[:index], value, *whole[index + 1 :]]):
        with contextlib.suppress(WireError):
            assert isinstance(spec_from_wire(wrong), RoundSpec)


KINDS = ["open", "batch", "close", "reveal", "sum", "x" * 50]


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.dictionaries(st.sampled_from(
    ["spec", "index", "lengths", "spool"]), values | st.lists(st.integers(0, 9)), max_size=4), st.binary(max_size=50)),
    max_size=5))  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_frames_that_no_coordinator_sends_open_nothing(tmp_path_factory, frames):
    parties = Parties(2, tmp_path_factory.mktemp("journals"))
    parties.open(parties.spec())
    for kind, facts, payload in frames:
        if kind == "close":
            continue  # alone it would wait for the other party; `test_state` closes
        try:
            answer = parties.parties[1].handle(Frame(kind, facts, payload))
        except ChannelBroken:
            parties.parties[1].forget()
            continue
        assert answer is None or answer.kind in ("failed", "refused")
    assert parties.journals[1].openings._names == set()
    parties.end()


def test_a_batch_of_fuzz_leaves_the_round_as_it_was(tmp_path):
    rng = random.Random(5)
    parties = Parties(2, tmp_path)
    spec = parties.spec()
    parties.open(spec)
    good = parties.sealed(spec, 0, [1, 2, 3])
    for _ in range(20):
        noise = [flipped(rng, list(good.parts)) for _ in range(10)]
        facts = {"index": parties._batches, "lengths": [len(part) for part in noise]}
        parties._batches += 1
        parties.ask(Frame("batch", facts, b"".join(noise)))
    parties.batch([good])
    parties.close()
    assert parties.total() == [1, 2, 3]
    parties.end()
