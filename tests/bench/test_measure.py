"""Ratios are of one round, and operations are what computes."""

from __future__ import annotations

import torch

from bench.measure import Operations, round_robin


def test_medians_and_ratios_are_of_the_same_rounds():
    waits = iter([0.0] * 4)
    found = round_robin({"one": lambda: next(waits, 0), "two": lambda: None}, 3, warmup=1)
    assert found["one"]["ratio"] == 1.0
    assert found["two"]["rounds"] == 3


def test_views_and_allocations_are_no_operations():
    x = torch.ones(4, 4)
    with Operations() as counted:
        x.view(16).unsqueeze(0).t().detach()
        torch.empty(3)
        (x + 1).mul_(2)
    assert counted.count == 2
