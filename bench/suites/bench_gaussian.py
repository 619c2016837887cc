"""Gaussian noise from ChaCha20 against numpy's Philox, a counter-based generator too, and PyTorch's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kernels.gaussian import add_gaussian_noise_

COUNTS = [73_728, 1_179_648]


@pytest.mark.parametrize("count", COUNTS)
def test_chacha20(benchmark, count):
    benchmark.group = f"noise on {count} coordinates"
    benchmark(add_gaussian_noise_, torch.zeros(count), 1.0, bytes(32), bytes(12))


@pytest.mark.parametrize("count", COUNTS)
def test_numpy_philox(benchmark, count):
    benchmark.group = f"noise on {count} coordinates"
    generator, total = np.random.Generator(np.random.Philox(1)), np.zeros(count, np.float32)

    def add():
        np.add(total, generator.standard_normal(count, np.float32), out=total)

    benchmark(add)


@pytest.mark.parametrize("count", COUNTS)
def test_torch_randn(benchmark, count):
    benchmark.group = f"noise on {count} coordinates"
    total = torch.zeros(count)
    benchmark(lambda: total.add_(torch.randn(count)))
