"""Clients' local training for unit `client`: any number of steps each, and one update each at the end.

Takes the broadcast adapter and some clients' own records; gives for each the difference between the two adapters, a
descent direction's negative. Clients train together over one frozen base, and each exactly as it would alone (up to
float rounding): its own batches, its own adapter. The updates leave here unclipped and must go through
`kernels.clip_sum` and noise before anybody else sees them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fl_core.config import ClientConfig
from fl_core.gradients.client_gradients import client_gradients, refuse_mixed_clients
from fl_core.gradients.stacked_adapters import MovingStack
from fl_core.task import FederatedTask
from secagg.randomness import Keystream

__all__ = ["local_updates", "passes"]

# Most of a pass's rows that may be there only to make its clients' batches equally long.
_FILLING = 0.25


def local_updates(
    task: FederatedTask,
    theta: Tensor,
    records: Sequence[NDArray[np.int64]],
    config: ClientConfig,
    sources: Sequence[Keystream],
    samples: int,
    checked: bool = False,
) -> Tensor:
    """`theta - theta_i [g, p]` after `config.steps` of plain SGD on each client's records (FedAvg's pseudo-gradients).

    What is not finite in one client's training stays in its own update.

    Args:
        task: model, batches and loss; the model's own adapter is neither used nor changed.
        theta: broadcast adapter `[p]`.
        records: each client's record indices; none gives a zero update.
        config: steps, batch size, learning rate.
        sources: each client's own keystream, which orders its batches.
        samples: most rows that go through the model together, if one client's batch is not more.
        checked: somebody has had `refuse_mixed_clients` look at the model, which is done here otherwise.

    Raises:
        SottoError: as `fl_core.gradients.client_gradients`; if one client's records change another's gradient.
    """
    updates = torch.zeros(len(records), len(theta))
    training = [row for row, own in enumerate(records) if len(own)]
    if not training:
        return updates
    task.model.train()
    if not checked:
        refuse_mixed_clients(task, theta)
    stack = MovingStack(task.model, theta, len(training))
    orders = [_endless_shuffle(records[row], config.batch_size, sources[row]) for row in training]
    for _ in range(config.steps):
        batches = [next(order) for order in orders]
        for together in passes([len(batch) for batch in batches], samples):
            grads = client_gradients(task, stack.adapters(together), [batches[row] for row in together])
            stack.step(together, grads, config.learning_rate)
    moved = stack.moved()
    if len(training) == len(records):
        return moved
    updates[training] = moved
    return updates


def passes(sizes: Sequence[int], samples: int) -> list[list[int]]:
    """Which clients go through the model together: each once, those with batches of like size together.

    Args:
        sizes: each client's batch size, 1 or more.
        samples: most rows of a pass, unless one client alone has more; filled-up rows count.
    """
    found: list[list[int]] = []
    longest = real = 0
    for row in sorted(range(len(sizes)), key=lambda row: -sizes[row]):  # stable: equal sizes stay in order
        rows = longest * (len(found[-1]) + 1) if found else 0
        if not found or rows > samples or rows - real - sizes[row] > _FILLING * rows:
            found.append([])
            longest, real = sizes[row], 0
        found[-1].append(row)
        real += sizes[row]
    return found


def _endless_shuffle(records: NDArray[np.int64], batch_size: int, source: Keystream) -> Iterator[NDArray[np.int64]]:
    while len(records) <= batch_size:  # the same batch every time: its order is of no consequence
        yield records
    while True:
        shuffled = records[np.argsort(source.words(len(records)))]
        for start in range(0, len(records), batch_size):
            yield shuffled[start : start + batch_size]
