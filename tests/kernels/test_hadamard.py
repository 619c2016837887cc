"""The randomised Hadamard rotation keeps norms and sums, spreads weight, and turns back."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import hadamard

from kernels.hadamard import rotate, rotated_length, unrotate

SEED = bytes(range(32))


def vector(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@settings(deadline=None)
@given(length=st.integers(0, 5000), seed=st.binary(min_size=32, max_size=32))
def test_rotation_keeps_the_norm_and_turns_back(length, seed):
    x = vector(length)
    y = rotate(x, seed)
    assert y.shape == (rotated_length(length),)
    assert torch.allclose(torch.linalg.vector_norm(y), torch.linalg.vector_norm(x), rtol=1e-12)
    assert torch.allclose(unrotate(y, seed, length), x, rtol=0, atol=1e-12)


def test_the_sum_of_rotated_vectors_is_the_rotated_sum():
    x = vector(7, 3000)
    assert torch.allclose(rotate(x, SEED).sum(0), rotate(x.sum(0), SEED), atol=1e-12)


@pytest.mark.parametrize("length", [1, 2, 1024, 1024 + 256])
def test_blocks_are_scipys_hadamard_matrices_after_random_signs(length):
    got = rotate(torch.eye(length, dtype=torch.float64), SEED)
    signs = got[:, :1].sign() if length <= 1024 else None
    want = torch.zeros(length, length, dtype=torch.float64)
    for start in range(0, length, 1024):
        size = min(1024, length - start)
        want[start : start + size, start : start + size] = torch.from_numpy(hadamard(size)) / size**0.5
    if signs is None:
        signs = torch.stack([row[row != 0][0].sign() for row in got])[:, None]
    assert torch.allclose(got, signs * want, atol=1e-14)
    assert length < 256 or 0.4 < (signs > 0).double().mean() < 0.6


def test_one_large_coordinate_becomes_many_small_ones():
    x = torch.zeros(4096, dtype=torch.float64)
    x[17] = 1.0
    assert rotate(x, SEED).abs().max() == pytest.approx(1024**-0.5)


def test_another_seed_gives_another_rotation():
    x = vector(2048)
    assert not torch.allclose(rotate(x, SEED), rotate(x, bytes(32)))


def test_lengths_are_whole_blocks_with_a_power_of_two_at_the_end():
    assert [rotated_length(n) for n in (0, 1, 3, 1024, 1025, 1600, 73728)] == [0, 1, 4, 1024, 1025, 2048, 73728]


def test_a_vector_of_another_length_is_refused():
    with pytest.raises(ValueError, match="1024 coordinates"):
        unrotate(vector(1000), SEED, 1000)
