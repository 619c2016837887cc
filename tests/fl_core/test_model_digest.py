"""Two broadcast models have one name only if they are the same, bit for bit."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fl_core.adapters import attach_adapter, flat_adapter, load_flat_adapter
from fl_core.config import LoraSettings
from fl_core.model_digest import broadcast_digest, frozen_digest


def made(dtype=torch.float32):
    torch.manual_seed(0)
    base = nn.Sequential()
    base.fc, base.norm = nn.Linear(5, 3, dtype=dtype), nn.BatchNorm1d(3)
    return attach_adapter(base, LoraSettings(rank=2, targets=["fc"]))


def test_equal_models_have_equal_digests_whatever_their_adapters_hold():
    one, two = made(), made()
    load_flat_adapter(two, flat_adapter(two) + 1)
    assert frozen_digest(one) == frozen_digest(two)
    theta = flat_adapter(one)
    assert broadcast_digest(frozen_digest(one), theta) == broadcast_digest(frozen_digest(two), theta.clone())


@pytest.mark.parametrize("name", ["fc.base_layer.weight", "norm.running_mean", "norm.num_batches_tracked"])
def test_one_changed_frozen_value_changes_the_digest(name):
    model = made()
    before = frozen_digest(model)
    with torch.no_grad():
        model.state_dict()[f"base_model.model.{name}"].view(-1)[0] += 1
    assert frozen_digest(model) != before


def test_the_same_values_in_another_precision_are_another_model():
    assert frozen_digest(made()) != frozen_digest(made(torch.bfloat16))


def test_one_bit_of_the_adapter_or_another_base_changes_the_digest():
    theta = torch.zeros(4)
    moved = theta.clone()
    moved[3] = -0.0
    names = {broadcast_digest(base, vector) for base in ("a", "b") for vector in (theta, moved, theta.reshape(2, 2))}
    assert len(names) == 6
    assert all(len(name) == 64 and int(name, 16) >= 0 for name in names)
