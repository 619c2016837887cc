"""Factors, sums, noise and integers on the device equal the vectorised version; the integers bit for bit."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import GaussianNoise, clip_and_sum_counted, squared_norms
from kernels.backend import kernel_backend
from kernels.gaussian import gaussian_noise
from kernels.gpu.clip_sum import clip_factors, clip_sum, clip_sum_integer, integer_squares

KEY, NONCE = bytes(range(32)), bytes(12)
DEVICES = [
    pytest.param("cpu", marks=pytest.mark.skipif(torch.cuda.is_available(), reason="the GPU runs instead")),
    pytest.param("cuda", marks=pytest.mark.gpu),
]


def rows(b, p, seed=0, size=1.0):
    return torch.randn(b, p, generator=torch.Generator().manual_seed(seed)) * size


def both(device, grads, clip, segments=None, scale=None, count=None, noise=None):
    """The vectorised result and the kernels' one."""
    square = squared_norms(grads)
    with kernel_backend("torch"):
        want = clip_and_sum_counted(grads, square, clip, segments, scale, count, noise)
    moved = None if segments is None else segments.to(device)
    with kernel_backend("triton"):
        got = clip_and_sum_counted(grads.to(device), square.to(device), clip, moved, scale, count, noise)
    return want, got


@settings(max_examples=15, deadline=None)
@given(
    b=st.integers(0, 6),
    p=st.sampled_from([1, 7, 64, 1025]),
    segments=st.booleans(),
    seed=st.integers(0, 99),
    size=st.sampled_from([1e-6, 1.0, 1e6]),
)
def test_integer_sums_are_bit_identical(b, p, segments, seed, size):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    owners = torch.randint(0, 4, (b,), generator=torch.Generator().manual_seed(seed)) if segments else None
    want, got = both(device, rows(b, p, seed, size), 1.0, owners, 2**22, 4 if segments else None)
    assert torch.equal(got.total.cpu(), want.total)
    assert got.clipped == want.clipped
    assert got.nonfinite == want.nonfinite


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("segmented", [False, True])
def test_float_sums_agree(device, segmented):
    owners = torch.tensor([3, 0, 0, 3, 1]) if segmented else None
    want, got = both(device, rows(5, 1500), 2.0, owners, None, 5 if segmented else None)
    torch.testing.assert_close(got.total.cpu(), want.total, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(got.norms.cpu(), want.norms)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("scale", [None, 2**16])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_row_that_is_not_finite_contributes_exactly_zero(device, scale, bad):
    grads = rows(4, 70)
    grads[2, 33] = bad
    want, got = both(device, grads, 1.0, None, scale)
    assert got.nonfinite == want.nonfinite == 1
    torch.testing.assert_close(got.total.cpu(), want.total, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("scale", [None, 2**16])
def test_a_value_that_is_not_finite_behind_a_finite_norm_is_found(device, scale):
    grads = rows(4, 70)
    square = squared_norms(grads).to(device)
    grads[1, 3] = float("nan")
    with kernel_backend("triton"):
        got = clip_and_sum_counted(grads.to(device), square, 1.0, None, scale)
    assert got.nonfinite == 1
    assert bool(torch.isfinite(got.total).all())


@pytest.mark.parametrize("device", DEVICES)
def test_a_row_that_fails_the_integer_check_contributes_zero_like_on_a_cpu(device):
    grads = rows(4, 50)
    square = squared_norms(grads)
    square[[0, 2]] /= 9
    with kernel_backend("torch"):
        want = clip_and_sum_counted(grads, square, 1.0, torch.arange(4), 2**20)
    with kernel_backend("triton"):
        got = clip_and_sum_counted(grads.to(device), square.to(device), 1.0, torch.arange(4, device=device), 2**20)
    assert torch.equal(got.total.cpu(), want.total)
    assert got.nonfinite == 2


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("p", [5, 64, 3001])
def test_noise_in_the_same_launch_is_the_streams_normals(device, p):
    noise = GaussianNoise(3.0, KEY, NONCE)
    want, got = both(device, rows(3, p), 1.0, None, None, None, noise)
    torch.testing.assert_close(got.total.cpu(), want.total, rtol=1e-5, atol=1e-5)
    clean = both(device, rows(3, p), 1.0)[0].total.double()
    torch.testing.assert_close(
        got.total.cpu().double() - clean, 3 * gaussian_noise(p, KEY, NONCE), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("device", DEVICES)
def test_microbatches_add_up(device):
    grads = rows(6, 100).to(device)
    ones = torch.ones(6, dtype=torch.float64, device=device)
    out = torch.empty(1, 100, device=device)
    clip_sum(grads[:4], ones[:4], None, None, out)
    clip_sum(grads[4:], ones[4:], None, None, out, accumulate=True)
    torch.testing.assert_close(out[0], grads.sum(0), rtol=1e-5, atol=1e-5)
    whole = torch.empty(1, 100, dtype=torch.int64, device=device)
    clip_sum_integer(grads[:4], 2**10 * ones[:4], None, None, whole)
    clip_sum_integer(grads[4:], 2**10 * ones[4:], None, None, whole, accumulate=True)
    assert torch.equal(whole[0], (grads.double() * 2**10).trunc().sum(0).to(torch.int64))


@pytest.mark.parametrize("device", DEVICES)
def test_factors_clip_sum_up_columns_and_exclude_what_is_not_finite(device):
    squares = torch.tensor(
        [[9.0, 16.0], [0.01, 0.0], [0.0, 0.0], [float("inf"), 1.0], [float("nan"), 1.0]], device=device
    )
    factors, sums = clip_factors(squares, 1.0, 2**-19)
    torch.testing.assert_close(factors.cpu()[:3], torch.tensor([0.2, 1.0, 1.0], dtype=torch.float64), rtol=1e-5, atol=0)
    assert factors.tolist()[3:] == [0.0, 0.0]
    torch.testing.assert_close(sums.cpu()[:3].float(), torch.tensor([25.0, 0.01, 0.0]))


@pytest.mark.parametrize("device", DEVICES)
def test_integer_squares_are_those_of_the_truncated_values(device):
    grads = rows(3, 2100, 5).to(device)
    weights = torch.tensor([1e6, 0.0, 12345.678], dtype=torch.float64, device=device)
    want = (grads.double() * weights[:, None]).trunc().square().sum(1)
    torch.testing.assert_close(integer_squares(grads, weights), want, rtol=1e-12, atol=0)


def test_noise_on_several_segments_is_refused():
    one = torch.zeros(1, dtype=torch.int32)
    with pytest.raises(ValueError, match="a key would serve twice"):
        clip_sum(torch.zeros(2, 3), torch.ones(2), None, None, torch.zeros(2, 3), (one, one, 1.0))
