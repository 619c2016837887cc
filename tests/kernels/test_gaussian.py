"""The float Gaussian has the right distribution, a full tail, and no random state of its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from kernels import add_gaussian_noise
from kernels.gaussian import gaussian_from_words


def words(count: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(-(2**63), 2**63, count, dtype=np.int64))


def test_values_follow_the_standard_normal_distribution():
    values = gaussian_from_words(words(400_000, 0)).numpy()
    assert stats.kstest(values, "norm").pvalue > 1e-3
    assert abs(values.var() - 1) < 0.005


def test_the_tail_reaches_nine_standard_deviations_on_both_sides():
    extremes = gaussian_from_words(torch.tensor([0, -(2**63), 2**63 - 1, -1]))
    assert extremes[0] > 9
    assert extremes[1] < -9
    assert abs(extremes[2]) < 1e-6
    assert abs(extremes[3]) < 1e-6


def test_equal_words_give_equal_noise_and_the_standard_deviation_scales_it():
    w = words(1000, 1)
    zero = torch.zeros(1000, dtype=torch.float64)
    assert torch.equal(add_gaussian_noise(zero, 3.0, w), 3 * add_gaussian_noise(zero, 1.0, w))
    assert torch.equal(add_gaussian_noise(zero, 0.0, w), zero)


def test_wrong_words_or_standard_deviations_are_refused():
    with pytest.raises(ValueError, match="words"):
        add_gaussian_noise(torch.zeros(3), 1.0, words(4, 0))
    with pytest.raises(ValueError, match="std"):
        add_gaussian_noise(torch.zeros(3), float("nan"), words(3, 0))
