"""Server optimisers on one flat vector: SGD, momentum and Adam, as pure functions of a small state.

They see only the opened, noisy, averaged sum; everything here is post-processing and costs no privacy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fl_core.config import ServerConfig

__all__ = ["OptimizerState", "initial_state", "learning_rate", "server_step"]


@dataclass(frozen=True)
class OptimizerState:
    """Moments of the server optimiser, float64 `[p]` each, and the number of steps taken."""

    first: Tensor
    second: Tensor
    steps: int


def initial_state(length: int) -> OptimizerState:
    """Zero moments for `length` parameters."""
    zeros = torch.zeros(length, dtype=torch.float64)
    return OptimizerState(zeros, zeros.clone(), 0)


def learning_rate(config: ServerConfig, step: int, total: int) -> float:
    """Learning rate of step `step` (from 0) of `total`, by the configured schedule."""
    progress = step / max(total, 1)
    if config.schedule == "cosine":
        return config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
    if config.schedule == "linear":
        return config.learning_rate * (1 - progress)
    return config.learning_rate


def server_step(
    theta: Tensor, gradient: Tensor, state: OptimizerState, config: ServerConfig, total: int
) -> tuple[Tensor, OptimizerState]:
    """One descent step.

    Args:
        theta: adapter `[p]`.
        gradient: averaged opened sum `[p]`, float64; a descent direction is its negative.
        state: moments before the step.
        config: optimiser, learning rate, schedule.
        total: rounds planned, for the schedule.

    Returns:
        The new adapter (`theta`'s dtype) and state.
    """
    rate = learning_rate(config, state.steps, total)
    first, second = state.first, state.second
    if config.optimizer == "sgd":
        update = gradient
    elif config.optimizer == "momentum":
        first = config.momentum * first + gradient
        update = first
    else:
        first = config.momentum * first + (1 - config.momentum) * gradient
        second = config.beta2 * second + (1 - config.beta2) * gradient.square()
        count = state.steps + 1
        corrected = second / (1 - config.beta2**count)
        update = first / (1 - config.momentum**count) / (corrected.sqrt() + config.adam_epsilon)
    moved = (theta.to(torch.float64) - rate * update).to(theta.dtype)
    return moved, OptimizerState(first, second, state.steps + 1)
