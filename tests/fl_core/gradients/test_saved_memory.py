"""What autograd keeps is counted by storage."""

from __future__ import annotations

import torch

from fl_core.gradients.saved_memory import SavedMemory


def test_a_storage_counts_once_and_known_ones_not_at_all():
    x, w = torch.randn(8, 4, requires_grad=True), torch.randn(4, 2, requires_grad=True)
    with SavedMemory([w]) as memory:
        y = x @ w
        assert memory.bytes == x.numel() * 4
        (y * x[:, :2]).sum().backward()  # x again, by a view, and y
        assert memory.bytes == (x.numel() + y.numel()) * 4
    assert torch.isfinite(x.grad).all()
