"""The independent reference of local training: one client at a time through PEFT's own layers."""

from __future__ import annotations

import numpy as np
import torch

from fl_core.adapters import flat_adapter, load_flat_adapter, trainable_parameters
from fl_core.batches import forward


def own_batches(records, size, source):
    """Endless passes over the records, each in a new order that the client's keystream gives."""
    while True:
        shuffled = records[np.argsort(source.words(len(records)))]
        yield from (shuffled[start : start + size] for start in range(0, len(records), size))


def alone(task, theta, records, config, source):
    """`theta - theta_local` of one client after plain SGD; the model is at `theta` afterwards."""
    if len(records) == 0:
        return torch.zeros_like(theta)
    load_flat_adapter(task.model, theta)
    parameters = [parameter for _, parameter in trainable_parameters(task.model)]
    task.model.train()
    batches = own_batches(records, config.batch_size, source)
    for _ in range(config.steps):
        inputs = task.batch(next(batches))
        grads = torch.autograd.grad(task.loss(forward(task.model, inputs), inputs).mean(), parameters)
        with torch.no_grad():
            for parameter, grad in zip(parameters, grads, strict=True):
                parameter.sub_(config.learning_rate * grad)
    update = theta - flat_adapter(task.model)
    load_flat_adapter(task.model, theta)
    return update
