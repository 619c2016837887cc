"""CrypTen multiplies with what was dealt, once, in the thread that has a dealer, and never without one."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest
import torch

from secagg.errors import AggregationError
from secagg.party.communicator import use_mesh
from secagg.party.crypten_import import import_crypten
from secagg.party.dealer import Order
from secagg.party.dealer_provider import DealerClient, use_dealer
from secagg.party.mesh import MeshBroken
from tests.secagg.party.joined import TIMEOUT_S, channel_pair, meshes, together


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
