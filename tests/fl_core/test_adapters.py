"""The adapter is one flat vector in a fixed order, trains nothing else, and is PEFT's own format on disk."""

from __future__ import annotations

import os

import pytest
import torch
from peft import PeftModel
from safetensors import SafetensorError
from torch import nn

from fl_core.adapters import (
    assign_gradient,
    attach_adapter,
    flat_adapter,
    load_flat_adapter,
    save_adapter,
    trainable_parameters,
    unmoved_weights,
)
from fl_core.config import LoraSettings
from fl_core.storage import StorageError
from secagg.errors import SottoError


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(1, 2, 3)
        self.fc = nn.Linear(2, 3)

    def forward(self, x):
        return self.fc(self.conv(x).mean((2, 3)))


def test_only_the_adapter_is_trainable_and_the_first_output_is_the_bases():
    net = Net()
    x = torch.randn(4, 1, 5, 5)
    before = net(x)
    model = attach_adapter(net, LoraSettings(rank=2, targets=["fc", "conv"]))
    assert all("lora_" in name for name, _ in trainable_parameters(model))
    torch.testing.assert_close(model(x), before)


def test_the_initial_value_depends_on_the_public_seed_alone():
    one, two, other = (attach_adapter(Net(), LoraSettings(targets=["fc"], seed=s)) for s in (3, 3, 4))
    assert torch.equal(flat_adapter(one), flat_adapter(two))
    assert not torch.equal(flat_adapter(one), flat_adapter(other))


def test_flat_vectors_round_trip_and_come_back_from_disk(tmp_path):
    model = attach_adapter(Net(), LoraSettings(targets=["fc", "conv"]))
    theta = torch.randn(len(flat_adapter(model)))
    load_flat_adapter(model, theta)
    assert torch.equal(flat_adapter(model), theta)
    save_adapter(model, tmp_path / "adapter")
    again = PeftModel.from_pretrained(Net(), tmp_path / "adapter", is_trainable=True)
    assert torch.equal(flat_adapter(again), theta)


@pytest.mark.parametrize("broken", ["write", "fsync", "replace"])
def test_an_adapter_that_cannot_be_saved_leaves_the_old_one_whole(tmp_path, monkeypatch, broken):
    model = attach_adapter(Net(), LoraSettings(targets=["fc"]))
    save_adapter(model, tmp_path / "adapter")
    before = {file.name: file.read_bytes() for file in (tmp_path / "adapter").iterdir()}
    load_flat_adapter(model, torch.randn(len(flat_adapter(model))))

    def full(*arguments, **_):
        if broken != "write":
            raise OSError(28, "No space left on device")
        (tmp_path / ".adapter.tmp").mkdir()
        (tmp_path / ".adapter.tmp" / "adapter_model.safetensors").write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    if broken == "write":
        monkeypatch.setattr(model, "save_pretrained", full)
    else:
        monkeypatch.setattr(os, broken, full)
    with pytest.raises(StorageError, match="No space left on device"):
        save_adapter(model, tmp_path / "adapter")
    monkeypatch.undo()
    assert {file.name: file.read_bytes() for file in (tmp_path / "adapter").iterdir()} == before
    assert [file.name for file in tmp_path.iterdir()] == ["adapter"]


@pytest.mark.parametrize("bad", [torch.zeros(3), torch.full((20,), float("nan"))])
def test_vectors_that_do_not_fit_are_refused(bad):
    model = attach_adapter(Net(), LoraSettings(rank=4, targets=["fc"]))
    with pytest.raises(ValueError, match="adapter"):
        load_flat_adapter(model, bad)


def test_an_unknown_layer_is_named():
    with pytest.raises(SottoError, match="no layer that can be adapted is called 'attention'; allowed: conv, fc"):
        attach_adapter(Net(), LoraSettings(targets=["attention"]))


def test_weights_that_have_a_gradient_but_did_not_move_are_named():
    model = attach_adapter(Net(), LoraSettings(rank=2, targets=["fc"]))
    before = flat_adapter(model)
    gradient = torch.ones_like(before)
    names = [name for name, _ in trainable_parameters(model)]
    assert unmoved_weights(model, before, gradient) == names
    load_flat_adapter(model, before + torch.arange(len(before)).eq(0))
    assert unmoved_weights(model, before, gradient) == names[1:]
    assert unmoved_weights(model, before, torch.zeros_like(before)) == []


def test_a_flat_gradient_becomes_the_parameters_own_in_order_without_a_copy():
    model = attach_adapter(Net(), LoraSettings(rank=2, targets=["fc", "conv"]))
    flat = torch.arange(float(len(flat_adapter(model))))
    assign_gradient(model, flat)
    assert torch.equal(torch.cat([p.grad.flatten() for _, p in trainable_parameters(model)]), flat)
    flat.zero_()
    assert not any(p.grad.any() for _, p in trainable_parameters(model))
    with pytest.raises(ValueError, match="got a gradient of shape"):
        assign_gradient(model, flat[1:])


def test_a_layer_of_a_kind_without_lora_is_named_with_those_that_have_it():
    net = Net()
    net.act = torch.nn.ReLU()
    with pytest.raises(SottoError, match="no layer that can be adapted is called 'act'; allowed: conv, fc$"):
        attach_adapter(net, LoraSettings(targets=["fc", "act"]))
