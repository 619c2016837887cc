"""Shares add up to the vector in the ring, and all but one of them say nothing about it."""

from __future__ import annotations

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from secagg.randomness import Keystream
from secagg.ring import add_wrap
from secagg.sharing import combine, expand, mask_sum, split, subtract_expanded

vectors = hnp.arrays(np.int64, st.integers(1, 30), elements=st.integers(-(2**63), 2**63 - 1))


@given(vectors, st.integers(1, 6))
def test_the_shares_of_all_parties_add_up_to_the_vector(vector, parties):
    before = vector.copy()
    shares = split(vector, parties, Keystream.system())
    assert len(shares.seeds) == parties - 1
    assert len(set(shares.seeds)) == parties - 1
    total = combine([shares.body, *(expand(seed, len(vector)) for seed in shares.seeds)])
    assert np.array_equal(total, vector)
    assert np.array_equal(vector, before)


def test_one_party_gets_the_vector_itself():
    vector = np.arange(5, dtype=np.int64)
    assert np.array_equal(split(vector, 1, Keystream.system()).body, vector)


def test_every_single_share_of_a_constant_vector_looks_uniform():
    shares = split(np.full(50_000, 7, dtype=np.int64), 3, Keystream.seeded(0))
    for share in (shares.body, *(expand(seed, 50_000) for seed in shares.seeds)):
        top = np.bincount((share >> 56) + 128, minlength=256)
        low = np.bincount(share & 255, minlength=256)
        assert stats.chisquare(top).pvalue > 1e-3
        assert stats.chisquare(low).pvalue > 1e-3


def test_any_two_of_three_shares_of_different_vectors_have_the_same_distribution():
    # The sum of body and one seed's share is still masked by the other seed.
    for value in (0, 2**62):
        shares = split(np.full(50_000, value, dtype=np.int64), 3, Keystream.seeded(1))
        pair = combine([shares.body, expand(shares.seeds[0], 50_000)])
        assert stats.chisquare(np.bincount((pair >> 56) + 128, minlength=256)).pvalue > 1e-3


def test_a_seed_expands_to_its_chacha20_keystream():
    seed = bytes(range(32))
    cipher = Cipher(ChaCha20(seed, bytes(16)), mode=None).encryptor()
    assert expand(seed, 10).tobytes() == cipher.update(bytes(80))


def test_fresh_splits_share_nothing():
    vector = np.zeros(4, dtype=np.int64)
    source = Keystream.system()
    one, two = split(vector, 3, source), split(vector, 3, source)
    assert not set(one.seeds) & set(two.seeds)
    assert not np.array_equal(one.body, two.body)


@given(vectors, st.integers(1, 4), st.integers(2, 64))
def test_narrow_shares_add_up_modulo_the_ring(vector, parties, bits):
    shares = split(vector, parties, Keystream.system(), bits)
    total = combine([shares.body, *(expand(seed, len(vector), bits) for seed in shares.seeds)], bits)
    assert [int(v) % 2**bits for v in total] == [int(v) % 2**bits for v in vector]
    masks = mask_sum(len(vector), bits)
    for seed in shares.seeds:
        subtract_expanded(masks, seed, bits)
    unmasked = combine([shares.body, -masks.astype(np.int64)], bits)
    assert np.array_equal(unmasked, total)


def test_shares_do_not_print_themselves():
    shares = split(np.zeros(3, dtype=np.int64), 2, Keystream.system())
    assert shares.seeds[0].hex() not in repr(shares)
    assert repr(shares) == "Shares(length=3, parties=2)"


@pytest.mark.parametrize("bad", [np.zeros((2, 2), np.int64), np.zeros(3), np.zeros(3, np.int32)])
def test_anything_but_a_vector_of_int64_is_refused(bad):
    with pytest.raises(ValueError, match="int64"):
        split(bad, 2, Keystream.system())


@given(vectors)
def test_ring_addition_wraps_and_never_warns(vector):
    into = np.full(len(vector), 2**63 - 1, dtype=np.int64)
    with np.errstate(all="raise"):
        add_wrap(into, vector)
    assert [int(v) for v in into] == [(2**63 - 1 + int(v) + 2**63) % 2**64 - 2**63 for v in vector]


def test_ring_addition_refuses_to_broadcast():
    with pytest.raises(ValueError, match="shapes"):
        add_wrap(np.zeros(3, np.int64), np.zeros(1, np.int64))
