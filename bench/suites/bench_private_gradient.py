"""The clipped gradient sum of one batch against torch.func's vmap and against a non-private backward pass."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call, grad, vmap

from experiments.models import Cnn, CnnConfig
from fl_core.adapters import attach_adapter, trainable_parameters
from fl_core.config import LoraSettings
from fl_core.gradients.private_gradient import PrivateGradient
from kernels import clip_and_sum
from kernels.lora_grad import squared_norms

BATCH = 256


@pytest.fixture(scope="module", params=[["fc"], ["conv1", "conv2", "fc"]], ids="+".join)
def case(request):
    model = attach_adapter(Cnn(CnnConfig.for_images((28, 28))), LoraSettings(rank=8, targets=request.param))
    g = torch.Generator().manual_seed(0)
    return model, torch.rand(BATCH, 1, 28, 28, generator=g), torch.randint(0, 10, (BATCH,), generator=g), request.param


def loss(output, inputs):
    return F.cross_entropy(output, inputs[1], reduction="none")


def test_non_private_backward(benchmark, case):
    model, x, y, targets = case
    benchmark.group = f"batch of {BATCH}, LoRA on {'+'.join(targets)}"
    parameters = [p for _, p in trainable_parameters(model)]
    benchmark(lambda: torch.autograd.grad(F.cross_entropy(model(x), y), parameters))


def test_private_gradient_on_the_integer_grid(benchmark, case):
    model, x, y, targets = case
    benchmark.group = f"batch of {BATCH}, LoRA on {'+'.join(targets)}"
    gradient = PrivateGradient(model, 1.0, 2**20)
    benchmark(lambda: gradient((x, y), loss))


def test_vmap_then_clip(benchmark, case):
    model, x, y, targets = case
    benchmark.group = f"batch of {BATCH}, LoRA on {'+'.join(targets)}"
    names = dict(trainable_parameters(model))
    frozen = {k: v for k, v in (*model.named_parameters(), *model.named_buffers()) if k not in names}

    def one(parameters, image, label):
        output = functional_call(model, (parameters, frozen), (image[None],))
        return F.cross_entropy(output, label[None])

    per_sample = vmap(grad(one), in_dims=(None, 0, 0))

    def step():
        grads = per_sample({k: v.detach() for k, v in names.items()}, x, y)
        flat = torch.cat([g.flatten(1) for g in grads.values()], 1)
        return clip_and_sum(flat, squared_norms(flat), 1.0, scale=2**20)

    benchmark(step)
