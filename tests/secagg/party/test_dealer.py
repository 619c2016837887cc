"""What is dealt is related as promised, fresh every time, and given only for orders that all parties agree on."""

from __future__ import annotations

import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from secagg.errors import AggregationError
from secagg.party.communicator import use_mesh
from secagg.party.crypten_import import import_crypten
from secagg.party.dealer import Order, correction, deal, dealt_scalars, dealt_vector
from secagg.party.dealer_provider import DealerClient, use_dealer
from secagg.party.frames import Channel, ChannelBroken
from secagg.party.mesh import Mesh, MeshBroken

TIMEOUT_S = 5.0
WORD = 2**64


def channel_pair(timeout_s=TIMEOUT_S):
    ours, theirs = socket.socketpair()
    return Channel(ours, timeout_s), Channel(theirs, timeout_s)


def meshes(parties, timeout_s=TIMEOUT_S):
    """One mesh for each party, joined pairwise."""
    ends = [{} for _ in range(parties)]
    for one in range(parties):
        for other in range(one):
            ends[one][other], ends[other][one] = channel_pair(timeout_s)
    return [Mesh(rank, ends[rank], timeout_s) for rank in range(parties)]


def together(parties, work, timeout_s=TIMEOUT_S, broken=False):
    """`work(mesh, dealer)` of every party at once, with a dealer; the results by rank, and how often was dealt.

    With `broken` parties leave in the middle, and the dealer may notice before it stops.
    """
    joined, ends = meshes(parties, timeout_s), [channel_pair(timeout_s) for _ in range(parties)]
    dealers = [DealerClient(ends[rank][1], rank, parties, timeout_s) for rank in range(parties)]

    def party(rank):
        try:
            return work(joined[rank], dealers[rank])
        finally:
            dealers[rank].close()
            joined[rank].close()

    with ThreadPoolExecutor(parties + 1) as pool:
        dealt = pool.submit(deal, {rank: ends[rank][0] for rank in range(parties)}, timeout_s)
        results = [task.result() for task in [pool.submit(party, rank) for rank in range(parties)]]
        try:
            return results, dealt.result()
        except ChannelBroken:
            if not broken:
                raise
            return results, 0


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


def answered(kind, facts, payload, rank=1):
    """A client of two parties whose dealer answers this, and the dealer's end."""
    theirs, ours = channel_pair()
    client = DealerClient(ours, rank, 2, TIMEOUT_S)
    client.ask(Order(8, 1, 2))
    theirs.send(kind, facts, payload)
    return client, theirs


@pytest.mark.parametrize(
    ("kind", "change", "size"),
    [
        ("dealt", {}, 32 + 8 * 4 - 1),
        ("dealt", {}, 32 + 8 * 4 + 8),
        ("dealt", {}, 32),
        ("dealt", {}, 0),
        ("dealt", {"number": 1}, 32 + 8 * 4),
        ("dealt", {"length": 9}, 32 + 8 * 4),
        ("deal", {}, 32 + 8 * 4),
    ],
)
def test_a_dealer_that_answers_nonsense_is_not_believed(kind, change, size):
    client, _theirs = answered(kind, {**Order(8, 1, 2).facts(0), **change}, bytes(size))
    with pytest.raises(MeshBroken, match="the dealer dealt something else"):
        client.collect()


def test_only_the_last_party_accepts_corrections():
    client, _theirs = answered("dealt", Order(8, 1, 2).facts(0), bytes(32 + 8 * 4), rank=0)
    with pytest.raises(MeshBroken, match="something else"):
        client.collect()


def test_a_dealer_that_is_gone_or_silent_breaks_the_mesh():
    theirs, ours = channel_pair()
    theirs.close()
    client = DealerClient(ours, 0, 2, TIMEOUT_S)
    with pytest.raises(MeshBroken, match="the dealer"):
        client.ask(Order(8, 1, 2))
        client.collect()
    theirs, ours = channel_pair()
    client = DealerClient(ours, 0, 2, 0.05)
    client.ask(Order(8, 1, 2))
    with pytest.raises(MeshBroken, match="the dealer: silent"):
        client.collect()


def test_nothing_that_was_dealt_serves_twice():
    client, _theirs = answered("dealt", Order(8, 1, 2).facts(0), os.urandom(32 + 8 * 4))
    with pytest.raises(RuntimeError, match="used up"):
        client.inner_square()
    client.collect()
    client.inner_square()
    with pytest.raises(RuntimeError, match="twice"):
        client.inner_square()
    client.sign_masks()
    with pytest.raises(RuntimeError, match="twice"):
        client.sign_masks()
    client.generate_binary_triple((2,), (2,))
    with pytest.raises(RuntimeError, match="0 words are left"):
        client.generate_binary_triple((1,), (1,))
    client.ask(Order(8, 1, 2))
    with pytest.raises(RuntimeError, match="used up"):
        client.sign_masks()


def test_triples_of_two_shapes_are_refused():
    client, _theirs = answered("dealt", Order(8, 1, 2).facts(0), os.urandom(32 + 8 * 4))
    client.collect()
    with pytest.raises(RuntimeError, match="an AND of"):
        client.generate_binary_triple((2, 1), (2,))


@pytest.mark.parametrize("parties", [2, 3, 5])
def test_and_and_addition_of_crypten_on_dealt_triples(parties):
    rng = np.random.default_rng(1)
    one, two = (rng.integers(-(2**63), 2**63, (parties, 40)) for _ in range(2))

    def work(mesh, dealer):
        dealer.ask(Order(1, 1, 40 + 40 + 12 * 40))  # AND; generate bits, six levels
        dealer.collect()
        crypten = use_mesh(mesh)
        use_dealer(dealer)
        shares = crypten.mpc.primitives.BinarySharedTensor.from_shares
        left, right = (shares(torch.from_numpy(x[mesh.rank].copy()), precision=0) for x in (one, two))
        try:
            return (left & right).reveal().numpy(), (left + right).reveal().numpy()
        finally:
            use_dealer(None)
            use_mesh(None)

    results, dealt = together(parties, work)
    plain = [np.bitwise_xor.reduce(x) for x in (one, two)]
    assert dealt == 1
    for both, total in results:
        np.testing.assert_array_equal(both, plain[0] & plain[1])
        np.testing.assert_array_equal(total, plain[0] + plain[1])


def test_without_a_dealer_crypten_multiplies_nothing_and_says_why():
    crypten = import_crypten()
    (mesh, _) = meshes(2)
    for provider in ("TFP", "TTP"):
        with crypten.cfg.temp_override({"mpc.provider": provider}):
            shared = use_mesh(mesh).mpc.primitives.ArithmeticSharedTensor.from_shares(torch.arange(3), precision=0)
            with pytest.raises(AggregationError, match="party 0 makes all its masks and can read everything"):
                shared.square()
            with pytest.raises(AggregationError, match="none of the parties"):
                _ = shared * shared
    use_mesh(None)


def test_a_dealer_serves_the_thread_that_it_was_given_to():
    crypten, (_, ours) = import_crypten(), channel_pair()
    client, refused = DealerClient(ours, 0, 2, TIMEOUT_S), []

    def elsewhere():
        try:
            crypten.mpc.get_default_provider()
        except AggregationError as error:
            refused.append(error)

    use_dealer(client)
    other = threading.Thread(target=elsewhere)
    other.start()
    other.join()
    assert crypten.mpc.get_default_provider() is client
    assert refused
    use_dealer(None)
    with pytest.raises(AggregationError):
        crypten.mpc.get_default_provider()
