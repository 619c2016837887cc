"""One pass of several clients through the model, each with an adapter of its own: every client's gradient at once.

Takes stacked adapters and each client's batch; gives stacked gradients of each client's mean loss. One client's records
must never reach another's gradient, for its contribution could then not be bounded: what mixes them is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fl_core.adapters import trainable_parameters
from fl_core.batches import batch_size
from fl_core.gradients.sample_independence import refuse_batch_norm, refuse_mixing
from fl_core.gradients.sample_losses import sample_losses
from fl_core.gradients.saved_memory import SavedMemory
from fl_core.gradients.stacked_adapters import flat_stack, stack_of, stacked_lora
from fl_core.task import FederatedTask
from secagg.errors import SottoError

__all__ = ["bytes_of_sample", "client_gradients", "refuse_mixed_clients"]

# Records that pairs of clients are made of to see whether one changes the other's gradient.
_TRIED = 4


def client_gradients(
    task: FederatedTask, stack: Sequence[Tensor], batches: Sequence[NDArray[np.int64]]
) -> list[Tensor]:
    """Gradients of each client's mean loss over its own batch, `[g, *shape]` for every trainable parameter.

    A batch shorter than the longest is filled up with its own records, whose losses count nothing.

    Args:
        task: model, batches and loss.
        stack: the clients' adapters, as `fl_core.gradients.stacked_adapters.stack_of` gives them.
        batches: record indices of each client, at least one.

    Raises:
        SottoError: if the loss is not one number per sample, or a trainable parameter has no part in it.
    """
    longest = max(len(batch) for batch in batches)
    filled = [batch if len(batch) == longest else np.resize(batch, longest) for batch in batches]
    inputs = task.batch(np.concatenate(filled))
    return _gradients(task, stack, inputs, [len(batch) for batch in batches])


def refuse_mixed_clients(task: FederatedTask, theta: Tensor) -> None:
    """Refuse a model or loss in which one client's records change another's gradient.

    Tried with the task's first records, each as a client of its own.

    Raises:
        SottoError: as `fl_core.gradients.sample_independence`.
    """
    refuse_batch_norm(task.model)
    records = _first_records(task)

    def first_gradient(inputs: Any) -> Tensor:
        clients = batch_size(inputs)
        grads = _gradients(task, stack_of(task.model, theta, clients), inputs, [1] * clients)
        flat = flat_stack(grads)[0]
        # Such a client's update will count nothing.
        return flat if bool(torch.isfinite(flat).all()) else torch.zeros_like(flat)

    if len(records) > 1:
        refuse_mixing(task.model, task.batch(records), first_gradient)


def bytes_of_sample(task: FederatedTask, theta: Tensor) -> int:
    """What a pass keeps for its backward for each sample, taken from the task's first record; 0 without records.

    It depends on shapes alone, so every process that works on the task finds the same.
    """
    records = _first_records(task)[:1]
    if not len(records):
        return 0
    stack = [values.requires_grad_() for values in stack_of(task.model, theta, 1)]
    inputs = task.batch(records)
    with SavedMemory([*task.model.parameters(), *task.model.buffers(), *stack]) as memory:
        # A loss that has a look at the model first (CausalLmLoss) does so here, with one row as it expects.
        with stacked_lora(task.model, stack, 1), torch.enable_grad():
            sample_losses(task.model, inputs, task.loss)
        return memory.bytes


def _gradients(task: FederatedTask, stack: Sequence[Tensor], inputs: Any, sizes: Sequence[int]) -> list[Tensor]:
    clients, rows = len(sizes), batch_size(inputs)
    own = [values.requires_grad_() for values in stack]
    with stacked_lora(task.model, own, rows), torch.enable_grad():
        losses = sample_losses(task.model, inputs, task.loss).view(clients, -1)
        counts = torch.tensor(sizes, device=losses.device)[:, None]
        real = torch.arange(losses.shape[1], device=losses.device) < counts
        means = (torch.where(real, losses, 0.0) / counts).sum(1)
        found = torch.autograd.grad(means.sum(), own, allow_unused=True)
    grads = []
    for (name, _), grad in zip(trainable_parameters(task.model), found, strict=True):
        if grad is None:
            raise SottoError(f"parameter {name} got no gradient: its layer did not run as a module")
        grads.append(grad)
    return grads


def _first_records(task: FederatedTask) -> NDArray[np.int64]:
    return np.array(list(islice(chain.from_iterable(task.clients), _TRIED)), dtype=np.int64)
