"""A generator that is wrong in its middle or in its tails is found out."""

from __future__ import annotations

import torch

from bench.gaussian_tails import distance, tail


def test_a_wrong_distribution_is_found_out():
    flat = torch.full((2**20,), 1000)
    assert distance(flat, 1000 * 2**20)["p_at_least"] > 0.99
    tilted = flat + torch.linspace(-20, 20, 2**20).long()
    assert distance(tilted, int(tilted.sum()))["p_at_least"] < 1e-6
    assert tail(5.68, [0, 0], 10**10)["p"] < 1e-6  # what a generator that ends there would show
    assert tail(6.5, [0, 0], 10**9)["p"] == 1.0
