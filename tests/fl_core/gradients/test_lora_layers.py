"""Fused LoRA layers compute what PEFT's compute, without privacy too, and leave the model as it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fl_core.adapters import trainable_parameters
from fl_core.gradients.lora_layers import fused_lora, lora_sites
from secagg.errors import SottoError
from tests.fl_core.lora_models import lora_model
from tests.fl_core.small_models import CASES, build


def autograd(model, inputs, loss):
    parameters = [p for _, p in trainable_parameters(model)]
    output = model(**inputs)
    losses = loss(output, inputs)
    return losses.detach(), torch.autograd.grad(losses.sum(), parameters)


@pytest.mark.parametrize("case", CASES)
def test_losses_and_gradients_are_pefts(case):
    model, inputs, loss = build(case)
    want, want_grads = autograd(model, inputs, loss)
    with fused_lora(model):
        got, got_grads = autograd(model, inputs, loss)
    torch.testing.assert_close(got, want)
    for mine, theirs in zip(got_grads, want_grads, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def test_the_model_is_as_before_also_after_an_error():
    model, _, _ = build("llama all linear")
    forwards = [site.module.forward for site in lora_sites(model)]
    with pytest.raises(RuntimeError, match="stop"), fused_lora(model):
        raise RuntimeError("stop")
    assert [site.module.forward for site in lora_sites(model)] == forwards
    assert not any("forward" in site.module.__dict__ for site in lora_sites(model))


def test_another_librarys_wrapper_around_a_layer_is_put_back():
    model = lora_model(nn.Sequential(nn.Linear(3, 2)), ["0"])
    layer = lora_sites(model)[0].module
    wrapper = layer.forward
    layer.forward = wrapper
    with fused_lora(model):
        assert layer.forward is not wrapper
    assert layer.__dict__["forward"] is wrapper


def test_hooks_on_the_base_layer_still_run():
    model = lora_model(nn.Sequential(nn.Linear(3, 2)), ["0"])
    seen = []
    lora_sites(model)[0].module.get_base_layer().register_forward_hook(lambda *_: seen.append(1))
    x = torch.randn(4, 3)
    want = model(x)
    with fused_lora(model):
        torch.testing.assert_close(model(x), want)
    assert len(seen) == 2


def merged(model):
    model.merge_adapter()


def disabled(model):
    model.base_model.disable_adapter_layers()
    for site_parameters in (p for n, p in model.named_parameters() if "lora_" in n):
        site_parameters.requires_grad_(True)


def two_adapters(model):
    model.add_adapter("second", model.peft_config["default"])
    model.base_model.set_adapter(["default", "second"])


@pytest.mark.parametrize(
    ("change", "message"),
    [(merged, "merged or disabled"), (disabled, "merged or disabled"), (two_adapters, "has 2 active adapters")],
)
def test_what_would_not_be_exact_is_refused(change, message):
    model = lora_model(nn.Sequential(nn.Linear(3, 2)), ["0"])
    change(model)
    with pytest.raises(SottoError, match=message):
        lora_sites(model)


def test_dora_is_refused():
    model = lora_model(nn.Sequential(nn.Linear(3, 2)), ["0"], use_dora=True)
    with pytest.raises(SottoError, match="plain LoRA"):
        lora_sites(model)


def test_kinds_without_a_rule_are_refused():
    model = lora_model(nn.Sequential(nn.Conv1d(3, 2, 1)), ["0"])
    with pytest.raises(SottoError, match="allowed: LoRA on Linear, Conv1D, Conv2d, Embedding"):
        lora_sites(model)


def test_arguments_beside_the_input_are_refused():
    model = lora_model(nn.Sequential(nn.Linear(3, 2)), ["0"])
    with fused_lora(model), pytest.raises(SottoError, match="adapter_names; allowed: the input alone"):
        lora_sites(model)[0].module(torch.randn(2, 3), adapter_names=["default", "default"])


def test_convolutions_that_do_not_pad_with_zeros_are_refused():
    model = lora_model(nn.Sequential(nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular")), ["0"])
    with pytest.raises(SottoError, match="circular"):
        lora_sites(model)
