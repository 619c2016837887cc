"""A client's local training for unit `client`: any number of steps, and one update at the end.

Takes the broadcast adapter and the client's own records; gives the difference between the two adapters, a
descent direction's negative. The update leaves here unclipped and must go through `kernels.clip_sum` and noise
before anybody else sees it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fl_core.adapters import flat_adapter, load_flat_adapter, trainable_parameters
from fl_core.batches import forward
from fl_core.config import ClientConfig
from fl_core.task import FederatedTask
from secagg.randomness import Keystream

__all__ = ["local_update"]


def local_update(
    task: FederatedTask, theta: Tensor, records: NDArray[np.int64], config: ClientConfig, source: Keystream
) -> Tensor:
    """`theta - theta_local [p]` after `config.steps` of plain SGD on the client's records (FedAvg's pseudo-gradient).

    Args:
        task: model, batches and loss; the model's adapter is left at `theta`.
        theta: broadcast adapter `[p]`.
        records: the client's record indices; none gives a zero update.
        config: steps, batch size, learning rate.
        source: the client's own keystream, which orders the batches.
    """
    if len(records) == 0:
        return torch.zeros_like(theta)
    load_flat_adapter(task.model, theta)
    parameters = [parameter for _, parameter in trainable_parameters(task.model)]
    task.model.train()
    order = _endless_shuffle(records, config.batch_size, source)
    for _ in range(config.steps):
        inputs = task.batch(next(order))
        loss = task.loss(forward(task.model, inputs), inputs).mean()
        grads = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, grad in zip(parameters, grads, strict=True):
                parameter.sub_(config.learning_rate * grad)
    update = theta - flat_adapter(task.model)
    load_flat_adapter(task.model, theta)
    return update


def _endless_shuffle(records: NDArray[np.int64], batch_size: int, source: Keystream) -> Iterator[NDArray[np.int64]]:
    while True:
        shuffled = records[np.argsort(source.words(len(records)))]
        for start in range(0, len(records), batch_size):
            yield shuffled[start : start + batch_size]
