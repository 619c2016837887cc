"""What is dealt is related as promised, fresh every time, and given only for orders that all parties agree on."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from secagg.party.dealer import Order, correction, deal, dealt_scalars, dealt_vector
from secagg.party.frames import ChannelBroken
from tests.secagg.party.joined import TIMEOUT_S, channel_pair

WORD = 2**64


def shares_of(order, parties):
    """Seeds, and every party's scalars, the last one's corrected."""
    seeds = [os.urandom(32) for _ in range(parties)]
    corrections = [b""] * (parties - 1) + [correction(order, seeds)]
    return seeds, [dealt_scalars(seed, order, words) for seed, words in zip(seeds, corrections, strict=True)]


def unsigned(tensor):
    return [int(word) % WORD for word in tensor]


def xored(tensors):
    return [int(word) for word in np.bitwise_xor.reduce([tensor.numpy() for tensor in tensors])]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 70), st.integers(1, 9), st.integers(1, 9), st.integers(1, 5))
def test_the_shares_are_related_as_promised(length, signs, ands, parties):
    seeds, dealt = shares_of(Order(length, signs, ands), parties)
    vector = [sum(column) % WORD for column in zip(*(unsigned(dealt_vector(s, 0, length)) for s in seeds), strict=True)]
    assert sum(unsigned(torch.cat([part.square for part in dealt]))) % WORD == sum(a * a for a in vector) % WORD
    masks = [sum(column) % WORD for column in zip(*(unsigned(part.masks) for part in dealt), strict=True)]
    assert [word % WORD for word in xored([part.bits for part in dealt])] == masks
    left, right = xored([part.left for part in dealt]), xored([part.right for part in dealt])
    assert xored([part.products for part in dealt]) == [u & v for u, v in zip(left, right, strict=True)]


def test_a_vector_longer_than_one_piece_is_squared_whole():
    length = 2**15 + 13
    seeds, dealt = shares_of(Order(length, 1, 1), 2)
    vector = sum(dealt_vector(seed, 0, length).numpy() for seed in seeds)
    assert sum(int(part.square) for part in dealt) % WORD == sum(int(a) ** 2 for a in vector) % WORD


def test_slices_of_a_dealt_vector_are_the_vectors():
    seed = os.urandom(32)
    assert torch.equal(dealt_vector(seed, 0, 100)[64:], dealt_vector(seed, 64, 36))


def test_vector_and_scalars_of_one_seed_share_no_words():
    seed = os.urandom(32)
    scalars = dealt_scalars(seed, Order(1, 50, 50))
    words = torch.cat([scalars.square, scalars.bits, scalars.products, scalars.masks, scalars.left, scalars.right])
    assert not set(words.tolist()) & set(dealt_vector(seed, 0, 300).tolist())


def test_corrections_are_uniform_to_the_last_party():
    order = Order(8, 1000, 1000)
    seen = b"".join(correction(order, [os.urandom(32), os.urandom(32)]) for _ in range(20))
    assert stats.chisquare(np.bincount(np.frombuffer(seen, np.uint8), minlength=256)).pvalue > 1e-6


def test_every_dealing_has_fresh_seeds_and_only_the_last_party_gets_corrections():
    order, ends = Order(10, 3, 4), [channel_pair() for _ in range(3)]
    payloads = []
    with ThreadPoolExecutor(1) as pool:
        dealt = pool.submit(deal, {rank: end[0] for rank, end in enumerate(ends)}, TIMEOUT_S)
        for number in range(4):
            for _, ours in ends:
                ours.send("deal", order.facts(number))
            payloads.append([bytes(ours.receive(TIMEOUT_S).payload) for _, ours in ends])
        for _, ours in ends:
            ours.close()
        assert dealt.result() == 4
    assert all([len(part) for part in parts] == [32, 32, 32 + order.correction_bytes] for parts in payloads)
    seeds = [part[:32] for parts in payloads for part in parts]
    assert len(set(seeds)) == len(seeds)


@pytest.mark.parametrize(
    ("kind", "change", "says"),
    [
        ("deal", {"length": 0}, "an order of 0 length"),
        ("deal", {"length": 101}, "allowed: 1 to 100"),
        ("deal", {"length": True}, "an order of True length"),
        ("deal", {"length": "8"}, "an order of '8' length"),
        ("deal", {"signs": 2**12 + 1}, "signs"),
        ("deal", {"signs": -1}, "signs"),
        ("deal", {"ands": 2**16 + 1}, "ands"),
        ("deal", {"number": 1}, "something else than the next dealing"),
        ("deal", {"more": 1}, "something else than the next dealing"),
        ("coin", {}, "something else than the next dealing"),
    ],
)
def test_an_impossible_order_is_refused_and_every_party_notices(kind, change, says):
    ends = [channel_pair() for _ in range(2)]
    for _, ours in ends:
        ours.send(kind, {**Order(8, 1, 1).facts(0), **change})
    with pytest.raises(ChannelBroken, match=says):
        deal({rank: end[0] for rank, end in enumerate(ends)}, TIMEOUT_S, max_length=100)
    for _, ours in ends:
        with pytest.raises(ChannelBroken, match="closed"):
            ours.receive(TIMEOUT_S)


def test_parties_that_order_different_dealings_get_none():
    ends = [channel_pair() for _ in range(2)]
    for rank, (_, ours) in enumerate(ends):
        ours.send("deal", Order(8 + rank, 1, 1).facts(0))
    with pytest.raises(ChannelBroken, match="different dealings"):
        deal({rank: end[0] for rank, end in enumerate(ends)}, TIMEOUT_S)


def test_a_party_that_orders_nothing_is_named_in_time():
    ends = [channel_pair() for _ in range(2)]
    ends[0][1].send("deal", Order(8, 1, 1).facts(0))
    with pytest.raises(ChannelBroken, match="party 1: silent"):
        deal({rank: end[0] for rank, end in enumerate(ends)}, 0.05)


def test_a_round_without_orders_ends_with_the_parties():
    ends = [channel_pair() for _ in range(2)]
    ends[0][1].close()
    assert deal({rank: end[0] for rank, end in enumerate(ends)}, TIMEOUT_S) == 0
    with pytest.raises(ChannelBroken):
        ends[1][1].receive(TIMEOUT_S)
