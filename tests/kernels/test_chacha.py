"""The ChaCha20 keystream is RFC 8439's, on every path and from every block on."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.backend import kernel_backend
from kernels.chacha import chacha20_words, key_tensors
from kernels.reference import reference_chacha20_block

COUNTING = bytes(range(32))


def as_bytes(words):
    return words.numpy().tobytes()


@pytest.mark.parametrize("backend", ["torch", "triton"])
@pytest.mark.parametrize(
    ("key", "nonce", "block", "start"),
    [
        # RFC 8439, section 2.3.2
        (COUNTING, "000000090000004a00000000", 1, "10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e"),
        # Section 2.4.2: the keystream of the sunscreen example
        (COUNTING, "000000000000004a00000000", 1, "224f51f3401bd9e12fde276fb8631ded8c131f823d2c06e27e4fcaec9ef3cf78"),
        # Appendix A.1, test vectors 1, 2 and 5
        (bytes(32), "00" * 12, 0, "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"),
        (bytes(32), "00" * 12, 1, "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"),
        (bytes(32), "000000000000000000000002", 0, "c2c64d378cd536374ae204b9ef933fcd1a8b2288b3dfa49672ab765b54ee27c7"),
    ],
)
def test_published_vectors(backend, key, nonce, block, start):
    with kernel_backend(backend):
        words = chacha20_words(key, bytes.fromhex(nonce), 16, block)
    assert as_bytes(words)[:32].hex() == start


@settings(max_examples=15, deadline=None)
@given(
    key=st.binary(min_size=32, max_size=32),
    nonce=st.binary(min_size=12, max_size=12),
    block=st.integers(0, 2**32 - 3),
    count=st.integers(0, 40),
)
def test_both_paths_equal_the_reference_from_any_block_on(key, nonce, block, count):
    want = [word for i in range(3) for word in reference_chacha20_block(key, nonce, (block + i) % 2**32)][:count]
    for backend in ("torch", "triton"):
        with kernel_backend(backend):
            got = chacha20_words(key, nonce, count, block)
        assert [int(word) & 0xFFFFFFFF for word in got] == want


def test_long_streams_agree_across_pieces_and_programs():
    words = chacha20_words(COUNTING, bytes(12), 40_003)
    with kernel_backend("triton"):
        assert torch.equal(chacha20_words(COUNTING, bytes(12), 40_003), words)
    assert torch.equal(chacha20_words(COUNTING, bytes(12), 1000, 1000), words[16_000:17_000])


@pytest.mark.parametrize(("key", "nonce"), [(bytes(31), bytes(12)), (bytes(32), bytes(8)), (b"", b"")])
def test_wrong_lengths_are_refused(key, nonce):
    with pytest.raises(ValueError, match="allowed: 32 and 12"):
        chacha20_words(key, nonce, 1)
    with pytest.raises(ValueError, match="allowed: 32 and 12"):
        key_tensors(key, nonce, "cpu")


@pytest.mark.parametrize(("count", "first"), [(17, 2**32 - 1), (1, 2**32), (-1, 0), (1, -1)])
def test_blocks_beyond_the_counter_are_refused_instead_of_wrapping(count, first):
    with pytest.raises(ValueError, match="2\\^32"):
        chacha20_words(COUNTING, bytes(12), count, first)
