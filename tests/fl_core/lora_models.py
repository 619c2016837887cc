"""Small adapted models, and the independent reference of the private gradient."""

from __future__ import annotations

import torch
from peft import LoraConfig, get_peft_model

from fl_core.adapters import flat_adapter, load_flat_adapter, trainable_parameters
from fl_core.batches import forward


def lora_model(base, targets, rank=2, **options):
    torch.manual_seed(0)
    model = get_peft_model(base, LoraConfig(r=rank, lora_alpha=3, target_modules=targets, **options))
    # PEFT starts with B = 0, which hides every error in A's gradient.
    theta = flat_adapter(model)
    load_flat_adapter(model, torch.randn(len(theta), generator=torch.Generator().manual_seed(1)) * 0.3)
    return model


def one_by_one(model, inputs, loss, clip):
    """Autograd for each sample through PEFT's own layers, clipped and summed in float64: total and norms."""
    size = len(next(iter(inputs.values())))
    parameters = [p for _, p in trainable_parameters(model)]
    total = torch.zeros(sum(p.numel() for p in parameters), dtype=torch.float64)
    norms = []
    for i in range(size):
        grads = torch.autograd.grad(loss(forward(model, inputs), inputs)[i], parameters)
        flat = torch.cat([grad.flatten() for grad in grads]).double()
        norms.append(flat.norm())
        total += flat * min(1.0, clip / float(flat.norm()))
    return total, torch.stack(norms)
