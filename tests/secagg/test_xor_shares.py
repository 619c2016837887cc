"""All shares together are the secret; any fewer are as if the secret had been another."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from secagg.xor_shares import xor_join, xor_split


@given(st.binary(min_size=32, max_size=32), st.integers(1, 6))
def test_all_shares_together_are_the_secret_in_any_order(secret, parties):
    shares = xor_split(secret, parties)
    assert len(shares) == parties
    assert {len(share) for share in shares} == {32}
    assert xor_join(shares) == xor_join(reversed(shares)) == secret


@pytest.mark.parametrize("parties", [2, 3])
@pytest.mark.parametrize("secret", [bytes(32), b"\xff" * 32])
def test_all_shares_but_one_are_uniform_whatever_the_secret_is(parties, secret):
    for missing in range(parties):
        seen = b""
        for _ in range(2000):
            shares = xor_split(secret, parties)
            seen += xor_join(share for rank, share in enumerate(shares) if rank != missing)
        # System randomness: this threshold fails by chance once in a million runs.
        assert stats.chisquare(np.bincount(np.frombuffer(seen, np.uint8), minlength=256)).pvalue > 1e-6


def test_a_secret_is_shared_anew_each_time():
    one, two = (xor_split(bytes(32), 3) for _ in range(2))
    assert not set(one) & set(two)
