"""Keystreams are AES-256-CTR, split without ambiguity, and remember whether they may be trusted."""

from __future__ import annotations

import hashlib
import hmac

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from secagg.randomness import Keystream

# NIST SP 800-38A, F.5.5: AES-256-CTR differs only in the initial counter, so single blocks are checked through ECB.
NIST_KEY = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")


def aes_ctr(key: bytes, count: int) -> bytes:
    """The encrypted counter (NIST SP 800-38A), block by block."""
    blocks = (ecb(key, counter.to_bytes(16, "big")) for counter in range(-(-count // 16)))
    return b"".join(blocks)[:count]


def ecb(key: bytes, block: bytes) -> bytes:
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(block)


def test_the_nist_key_gives_the_nist_block():
    assert ecb(NIST_KEY, bytes.fromhex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff")).hex() == "0bdf7df1591716335e9a8b15c860c502"


def test_a_stream_is_aes_ctr_of_its_derived_key_however_it_is_read():
    key = bytes(range(32))
    want = aes_ctr(hmac.digest(key, b"stream", hashlib.sha256), 800)
    whole = Keystream.from_key(key)
    assert whole.take(800) == want
    pieces = Keystream.from_key(key)
    assert pieces.words(3).tobytes() + pieces.take(1) + pieces.take(775) == want


def test_words_are_writable_and_long_reads_do_not_repeat():
    words = Keystream.seeded(1).words(200_000)
    words[0] = 0
    assert len(np.unique(words)) == 200_000


labels = st.lists(st.one_of(st.integers(-5, 300), st.text(max_size=4)), min_size=1, max_size=4)


@given(labels, labels)
def test_different_labels_name_different_streams_and_equal_ones_the_same(one, two):
    root = Keystream.seeded(7)
    assert (root.child(*one).take(16) == root.child(*two).take(16)) == (
        [(type(x), x) for x in one] == [(type(x), x) for x in two]
    )


def test_children_do_not_depend_on_what_was_read_before():
    root = Keystream.seeded(3)
    before = root.child("a").take(8)
    root.take(100)
    assert root.child("a").take(8) == before
    assert root.child("a").take(8) != root.take(8)


def test_security_is_remembered_by_children():
    assert Keystream.system().child("x").child(1).secure
    assert not Keystream.seeded(0).child("x").child(1).secure


def test_system_streams_differ_and_seeded_ones_repeat():
    assert Keystream.system().take(16) != Keystream.system().take(16)
    assert Keystream.seeded(5).take(16) == Keystream.seeded(5).take(16)
    assert Keystream.seeded(5).take(16) != Keystream.seeded(6).take(16)


def test_the_key_is_in_no_representation():
    key = bytes(range(32))
    stream = Keystream.from_key(key)
    for text in (repr(stream), str(stream)):
        assert key.hex() not in text
        assert repr(key) not in text


def test_uniform_numbers_are_uniform_below_one():
    values = Keystream.seeded(2).uniform(100_000)
    assert values.min() >= 0
    assert values.max() < 1
    assert stats.kstest(values, "uniform").pvalue > 1e-3


def test_a_short_key_is_refused():
    with pytest.raises(ValueError, match="32 bytes"):
        Keystream.from_key(b"short")
