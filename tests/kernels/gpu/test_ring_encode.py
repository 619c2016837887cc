"""Ring encoding on the device gives the same integers as on a CPU, bit for bit."""

from __future__ import annotations

import pytest
import torch

from kernels.backend import kernel_backend
from kernels.discrete_table import discrete_gaussian_table
from kernels.ring_encode import discrete_gaussian_noise, ring_encode

KEY = bytes(range(32))
SEEDS = [bytes([party]) * 32 for party in (1, 2)]
DEVICES = [
    pytest.param("cpu", marks=pytest.mark.skipif(torch.cuda.is_available(), reason="the GPU runs instead")),
    pytest.param("cuda", marks=pytest.mark.gpu),
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("count", "masks", "sigma", "bits"),
    [
        (0, 1, 4.0, 64),
        (1, 2, None, 20),
        (1025, 1, None, 64),
        (333, 2, 12.5, 32),
        (1500, 0, 3000.0, 17),
        (9, 1, 1e6, 2),
        (2049, 2, None, 31),
        (40, 1, None, 33),
    ],
)
def test_encodings_are_bit_identical(device, count, masks, sigma, bits):
    total = torch.randint(-(2**62), 2**62, (count,), generator=torch.Generator().manual_seed(1))
    noise = None if sigma is None else (discrete_gaussian_table(sigma), KEY)
    with kernel_backend("torch"):
        want = ring_encode(total, SEEDS[:masks], noise, bits)
    with kernel_backend("triton"):
        got = ring_encode(total.to(device), SEEDS[:masks], noise, bits)
    assert torch.equal(got.cpu(), want)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("sigma", "first"), [(0.5, 0), (256.0, 8), (2.0**20, 16)])
def test_noise_draws_are_bit_identical_from_any_block_on(device, sigma, first):
    table = discrete_gaussian_table(sigma)
    with kernel_backend("torch"):
        want = discrete_gaussian_noise(500, table, KEY, first=first)
    with kernel_backend("triton"):
        got = discrete_gaussian_noise(500, table, KEY, device, first)
    assert torch.equal(got.cpu(), want)
