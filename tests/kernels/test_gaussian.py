"""The float Gaussian: the right distribution with full tails, the same normals on every path, no state of its own."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from kernels import add_gaussian_noise
from kernels.backend import kernel_backend
from kernels.gaussian import gaussian_noise
from kernels.reference import reference_gaussian

KEY, NONCE = bytes(range(32)), bytes(12)
BACKENDS = ["torch", "triton"]


def test_values_follow_the_standard_normal_distribution():
    values = gaussian_noise(1_000_000, KEY, NONCE).numpy()
    assert stats.kstest(values, "norm").pvalue > 1e-3
    assert abs(values.var() - 1) < 0.005
    assert abs(np.corrcoef(values[::2], values[1::2])[0, 1]) < 0.005
    for bound in (2, 3, 4):
        expected = len(values) * 2 * stats.norm.sf(bound)
        assert abs((np.abs(values) > bound).sum() - expected) < 5 * math.sqrt(expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_normal_is_the_references(backend):
    with kernel_backend(backend):
        values = gaussian_noise(150, KEY, NONCE)
    want = torch.tensor([reference_gaussian(KEY, NONCE, i) for i in range(150)], dtype=torch.float64)
    torch.testing.assert_close(values, want, rtol=1e-12, atol=4e-15)


def test_both_paths_draw_the_same_bits():
    values = gaussian_noise(30_001, KEY, NONCE)
    with kernel_backend("triton"):
        torch.testing.assert_close(gaussian_noise(30_001, KEY, NONCE), values, rtol=1e-11, atol=4e-15)


@pytest.mark.parametrize("backend", BACKENDS)
def test_any_slice_of_the_stream_is_the_same(backend):
    with kernel_backend(backend):
        values = gaussian_noise(2000, KEY, NONCE)
        assert torch.equal(gaussian_noise(77, KEY, NONCE, first=800), values[800:877])
        assert gaussian_noise(0, KEY, NONCE).shape == (0,)


def test_a_long_draw_does_not_depend_on_the_pieces_it_is_made_in():
    values = gaussian_noise(700_000, KEY, NONCE)
    assert torch.equal(values[600_000:], gaussian_noise(100_000, KEY, NONCE, first=600_000))
    noisy = add_gaussian_noise(torch.zeros(700_000, dtype=torch.float64), 1.0, KEY, NONCE)
    assert torch.equal(noisy, values)


def test_the_radius_reaches_nine_standard_deviations():
    """The smallest and largest words, through the formula that both paths use."""
    words = torch.tensor([0, -1, 2**63 - 1, -(2**63)])
    uniform = words.to(torch.float64) * 2.0**-63 + 2.0**-64
    radius = (-(uniform.square().log())).sqrt()
    assert float(radius[:2].min()) > 9.4
    assert float(radius[2:].max()) < 1e-7


def test_the_standard_deviation_scales_the_noise_and_the_total_is_left_alone():
    total = torch.arange(10.0).view(2, 5)
    got = add_gaussian_noise(total, 3.0, KEY, NONCE)
    want = (total.double() + 3.0 * gaussian_noise(10, KEY, NONCE).view(2, 5)).float()
    assert torch.equal(got, want)
    assert torch.equal(add_gaussian_noise(total, 0.0, KEY, NONCE), total)
    assert torch.equal(total, torch.arange(10.0).view(2, 5))


def test_other_keys_and_nonces_give_other_noise():
    base = gaussian_noise(100, KEY, NONCE)
    for key, nonce in ((bytes(32), NONCE), (KEY, b"1" * 12)):
        assert not torch.isclose(base, gaussian_noise(100, key, nonce)).any()


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="std"):
        add_gaussian_noise(torch.zeros(3), float("nan"), KEY, NONCE)
    with pytest.raises(ValueError, match="std"):
        add_gaussian_noise(torch.zeros(3), -1.0, KEY, NONCE)
    with pytest.raises(ValueError, match="key and nonce"):
        add_gaussian_noise(torch.zeros(3), 1.0, b"short", NONCE)
    with pytest.raises(ValueError, match="multiples of 8"):
        gaussian_noise(3, KEY, NONCE, first=3)
