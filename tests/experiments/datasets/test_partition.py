"""Every record belongs to exactly one client, whatever the division."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.datasets import largest_owners, partition
from secagg.errors import SottoError


@settings(max_examples=60, deadline=None)
@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=80),
    clients=st.integers(1, 20),
    scheme=st.sampled_from(["iid", "dirichlet"]),
    alpha=st.sampled_from([1e-3, 0.1, 1.0, 1e6]),
    seed=st.integers(0, 2**32),
)
def test_every_record_belongs_to_exactly_one_client(labels, clients, scheme, alpha, seed):
    clients = min(clients, len(labels))
    parts = partition(np.array(labels), clients, scheme, alpha, seed)
    assert len(parts) == clients
    assert all(part.dtype == np.int64 for part in parts)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(labels)))
    if scheme == "iid":
        sizes = [len(part) for part in parts]
        assert max(sizes) - min(sizes) <= 1


def test_ten_thousand_clients_share_sixty_thousand_records_six_each():
    parts = partition(np.zeros(60_000, dtype=np.int64), 10_000, "iid")
    assert {len(part) for part in parts} == {6}


@pytest.mark.parametrize("scheme", ["iid", "dirichlet"])
def test_the_seed_alone_decides(scheme):
    labels = np.arange(200) % 10
    first, again, other = (partition(labels, 7, scheme, 0.5, seed) for seed in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_iid_mixes_sorted_labels():
    labels = np.repeat(np.arange(10), 100)
    for part in partition(labels, 5, "iid"):
        assert np.bincount(labels[part], minlength=10).min() > 5


def test_dirichlet_shares_have_the_moments_of_the_distribution():
    # A share of Dirichlet(alpha, ... k times) has mean 1/k and variance (1/k)(1 - 1/k)/(k alpha + 1).
    labels, k, alpha = np.repeat(np.arange(400), 1000), 5, 0.3
    parts = partition(labels, k, "dirichlet", alpha, seed=1)
    shares = np.stack([np.bincount(labels[part], minlength=400) for part in parts]) / 1000
    variance = (1 / k) * (1 - 1 / k) / (k * alpha + 1)
    np.testing.assert_allclose(shares.mean(1), 1 / k, atol=5 * np.sqrt(variance / 400))
    np.testing.assert_allclose(shares.var(), variance, rtol=0.1)


def test_a_small_alpha_concentrates_and_a_large_one_evens_out():
    labels = np.repeat(np.arange(10), 500)
    uneven = partition(labels, 10, "dirichlet", 1e-3)
    even = partition(labels, 10, "dirichlet", 1e6)
    assert max(np.bincount(labels[part], minlength=10).max() for part in uneven) >= 490
    assert all(abs(len(part) - 500) < 25 for part in even)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"clients": 0}, "federation.clients is 0; allowed: 1 or more"),
        ({"clients": 11}, "allowed: at most 10"),
        ({"clients": 2, "scheme": "sorted"}, "allowed: iid, dirichlet"),
        ({"clients": 2, "scheme": "dirichlet", "alpha": 0.0}, "data.alpha"),
        ({"clients": 2, "scheme": "dirichlet", "alpha": float("nan")}, "data.alpha"),
        ({"clients": 2, "seed": -1}, "data.seed"),
    ],
)
def test_impossible_divisions_are_refused_in_one_sentence(arguments, sentence):
    with pytest.raises(SottoError, match=sentence):
        partition(np.zeros(10, dtype=np.int64), **arguments)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.data())
def test_largest_owners_get_their_own_records_largest_first(owners, data):
    owners = np.asarray(owners, np.int64)
    present = len(np.unique(owners))
    clients = data.draw(st.integers(1, present))
    parts = largest_owners(owners, clients)
    sizes = [len(part) for part in parts]
    assert sizes == sorted(np.bincount(owners)[np.bincount(owners) > 0], reverse=True)[:clients]
    for part in parts:
        assert len(np.unique(owners[part])) == 1
        assert (np.diff(part) > 0).all()
    assert len(np.unique(np.concatenate(parts))) == sum(sizes)


@pytest.mark.parametrize("clients", [0, 3])
def test_more_clients_than_owners_are_a_sentence(clients):
    with pytest.raises(SottoError, match=f"federation.clients is {clients} but there are 2 users; allowed: 1 to 2"):
        largest_owners(np.array([0, 5, 5]), clients)
