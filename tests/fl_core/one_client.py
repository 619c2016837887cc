"""The independent reference of local training: one client at a time through PEFT's own layers."""

from __future__ import annotations

import numpy as np
import torch

from fl_core.adapters import load_flat_adapter, trainable_parameters
from fl_core.batches import forward


def own_batches(records, size, source):
    """Endless passes over the records, each in a new order that the client's keystream gives."""
    while True:
        shuffled = records[np.argsort(source.words(len(records)))]
        yield from (shuffled[start : start + size] for start in range(0, len(records), size))


def alone(task, theta, records, config, source):
    """`theta - theta_local` of one client after plain SGD; the model is at `theta` afterwards.

    The way is added up in float64: the difference of two float32 adapters that are close has lost digits.
    """
    moved = torch.zeros(len(theta), dtype=torch.float64)
    if len(records) == 0:
        return moved.float()
    load_flat_adapter(task.model, theta)
    parameters = [parameter for _, parameter in trainable_parameters(task.model)]
    task.model.train()
    batches = own_batches(records, config.batch_size, source)
    for _ in range(config.steps):
        inputs = task.batch(next(batches))
        grads = torch.autograd.grad(task.loss(forward(task.model, inputs), inputs).mean(), parameters)
        moved += config.learning_rate * torch.cat([grad.flatten() for grad in grads])
        load_flat_adapter(task.model, theta.double() - moved)
    load_flat_adapter(task.model, theta)
    return moved.float()
