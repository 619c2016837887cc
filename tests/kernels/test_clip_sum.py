"""Clipping bounds what one sample can move, exactly in integers, and non-finite samples contribute zero."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import GaussianNoise, clip_and_sum, clip_and_sum_counted
from kernels.clip_sum import MARGIN, clip_and_sum_tiles
from kernels.lora_grad import squared_norms
from kernels.reference import reference_clip_and_sum


def rows(b: int, p: int, seed: int, size: float = 1.0) -> torch.Tensor:
    return torch.randn(b, p, generator=torch.Generator().manual_seed(seed)) * size


def integer_norm(vector: torch.Tensor) -> float:
    return math.sqrt(sum(int(v) ** 2 for v in vector.tolist()))


@settings(max_examples=40, deadline=None)
@given(
    b=st.integers(1, 8),
    p=st.integers(1, 20),
    seed=st.integers(0, 999),
    clip=st.floats(0.01, 50),
    size=st.sampled_from([1e-6, 1.0, 1e6]),
)
def test_float_sum_equals_the_reference(b, p, seed, clip, size):
    grads = rows(b, p, seed, size)
    got = clip_and_sum(grads, squared_norms(grads), clip)
    torch.testing.assert_close(got.double(), reference_clip_and_sum(grads, clip), rtol=1e-4, atol=1e-5 * clip)


@settings(max_examples=60, deadline=None)
@given(
    p=st.integers(1, 40),
    seed=st.integers(0, 999),
    clip=st.floats(0.01, 20),
    bits=st.integers(8, 36),
    size=st.sampled_from([1e-3, 1.0, 1e4]),
)
def test_one_sample_moves_the_integer_sum_by_at_most_clip_times_scale(p, seed, clip, bits, size):
    scale = 2**bits
    if not 1 <= clip * scale <= 2**40:
        return
    grads = rows(1, p, seed, size)
    total = clip_and_sum(grads, squared_norms(grads), clip, scale=scale)
    assert total.dtype == torch.int64
    assert sum(int(v) ** 2 for v in total.tolist()) <= math.floor(clip * scale) ** 2


@pytest.mark.parametrize("bits", [4, 20, 38])
def test_a_sample_whose_norm_was_understated_fails_the_integer_check_and_contributes_zero(bits):
    grads = rows(4, 50, 0)
    square = squared_norms(grads)
    square[[0, 2]] /= 9
    got = clip_and_sum_counted(grads, square, 1.0, torch.arange(4), scale=2**bits)
    assert got.nonfinite == 2
    assert not got.total[[0, 2]].any()
    assert torch.equal(got.total[[1, 3]], clip_and_sum(grads[[1, 3]], square[[1, 3]], 1.0, torch.arange(2), 2**bits))
    for row in got.total[[1, 3]]:
        assert 0 < integer_norm(row) <= 2**bits


def test_a_non_finite_value_hidden_behind_a_finite_norm_is_found():
    grads = rows(3, 8, 1)
    square = squared_norms(grads)
    grads[1, 4] = float("inf")
    for scale in (None, 2**16):
        got = clip_and_sum_counted(grads, square, 1.0, scale=scale)
        assert got.nonfinite == 1
        torch.testing.assert_close(got.total, clip_and_sum(grads[[0, 2]], square[[0, 2]], 1.0, scale=scale))


def test_integer_mode_loses_less_than_the_margin_and_one_step_a_coordinate():
    grads = rows(5, 30, 1)
    got = clip_and_sum(grads, squared_norms(grads), 2.0, scale=2**24)
    want = reference_clip_and_sum(grads, 2.0, scale=2**24)
    assert int((got - want).abs().max()) <= 5 * (2 + 2 * 2**24 * MARGIN)


@pytest.mark.parametrize("clip", [1.0, 3.7])
def test_a_coarse_grid_keeps_to_the_whole_bound(clip):
    grads = rows(200, 4, 5, 3.0)
    got = clip_and_sum(grads, squared_norms(grads), clip, torch.arange(200), scale=1.0)
    assert max(integer_norm(row) for row in got) <= math.floor(clip)


def test_sums_too_large_for_float64_stay_exact():
    """Above 2^53 a float64 sum would lose the last step: here it must not."""
    grads = torch.full((9000, 1), 1.0)
    grads[0, 0] = 2**-40 * 3
    total = clip_and_sum(grads, squared_norms(grads), 1.0, scale=2**40)
    ones = clip_and_sum(grads[1:2], squared_norms(grads[1:2]), 1.0, scale=2**40)
    assert int(total[0]) == 8999 * int(ones[0]) + 3


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(1, 39), max_size=4, unique=True), seed=st.integers(0, 99), integer=st.booleans())
def test_pieces_give_the_same_sum_as_the_whole(cuts, seed, integer):
    grads = rows(6, 40, seed)
    norms = squared_norms(grads).sqrt()
    scale = 2**20 if integer else None
    edges = [0, *sorted(cuts), 40]
    tiles = [(start, grads[:, start:stop]) for start, stop in pairwise(edges)]
    got = clip_and_sum_tiles(lambda: tiles, 40, grads.dtype, norms, 1.0, scale=scale)
    want = clip_and_sum_counted(grads, norms**2, 1.0, scale=scale)
    torch.testing.assert_close(got.total, want.total)


def test_truncation_never_moves_away_from_zero():
    grads = rows(1, 100, 2)
    got = clip_and_sum(grads, squared_norms(grads), 1e3, scale=2**16)
    assert bool((got.abs().double() <= grads[0].abs().double() * 2**16).all())


@settings(max_examples=25, deadline=None)
@given(b=st.integers(1, 12), clients=st.integers(1, 5), seed=st.integers(0, 99))
def test_segments_sum_each_client_by_itself(b, clients, seed):
    grads = rows(b, 6, seed)
    segments = torch.randint(0, clients, (b,), generator=torch.Generator().manual_seed(seed))
    got = clip_and_sum(grads, squared_norms(grads), 1.0, segments, 2**16, clients)
    assert got.shape == (clients, 6)
    for client in range(clients):
        mine = grads[segments == client]
        torch.testing.assert_close(got[client], clip_and_sum(mine, squared_norms(mine), 1.0, scale=2**16))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("scale", [None, 2**16])
def test_a_non_finite_sample_contributes_exactly_zero_and_is_counted(bad, scale):
    grads = rows(4, 5, 3)
    clean = grads[[0, 1, 3]]
    grads[2, 1] = bad
    got = clip_and_sum_counted(grads, squared_norms(grads), 1.0, scale=scale)
    assert got.nonfinite == 1
    torch.testing.assert_close(got.total, clip_and_sum(clean, squared_norms(clean), 1.0, scale=scale))


def test_a_sample_whose_squared_norm_overflows_is_not_lost_silently():
    grads = torch.full((1, 4), 1e30)
    got = clip_and_sum_counted(grads, squared_norms(grads), 1.0)
    torch.testing.assert_close(got.total.norm().item(), 1.0, rtol=1e-5, atol=0)
    assert got.nonfinite == 0


def test_an_empty_batch_gives_zeros():
    empty = torch.zeros(0, 7)
    assert torch.equal(clip_and_sum(empty, torch.zeros(0), 1.0), torch.zeros(7))
    got = clip_and_sum(empty, torch.zeros(0), 1.0, torch.zeros(0, dtype=torch.int64), 2**10, 3)
    assert torch.equal(got, torch.zeros(3, 7, dtype=torch.int64))


def test_a_zero_gradient_stays_zero():
    assert torch.equal(clip_and_sum(torch.zeros(2, 3), torch.zeros(2), 1.0), torch.zeros(3))


def test_samples_below_the_clip_norm_are_not_counted_as_clipped():
    grads = torch.tensor([[0.5, 0.0], [3.0, 4.0]])
    assert clip_and_sum_counted(grads, squared_norms(grads), 1.0).clipped == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"clip_norm": 0.0}, "clip_norm"),
        ({"clip_norm": float("nan")}, "clip_norm"),
        ({"scale": 2**50}, "2\\^40"),
        ({"scale": float("inf")}, "2\\^40"),
        ({"segments": torch.zeros(3, dtype=torch.int64)}, "segments"),
        ({"sq_norms": torch.zeros(5)}, "sq_norms"),
        ({"grads": torch.zeros(2)}, "grads"),
        ({"noise": GaussianNoise(1.0, bytes(32), bytes(12)), "scale": 2**10}, "noise"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    given_ = {"grads": torch.zeros(2, 3), "sq_norms": torch.zeros(2), "clip_norm": 1.0, **arguments}
    with pytest.raises(ValueError, match=message):
        clip_and_sum_counted(**given_)


def test_noise_keys_are_not_in_the_repr():
    assert "0102" not in repr(GaussianNoise(1.0, bytes.fromhex("0102" * 16), bytes(12)))
