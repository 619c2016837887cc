"""Server optimisers equal torch.optim step by step."""

from __future__ import annotations

import pytest
import torch

from fl_core.config import ServerConfig
from fl_core.optimizers import initial_state, learning_rate, server_step

PEERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.3),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.3, momentum=0.8),
    "adam": lambda p: torch.optim.Adam(p, lr=0.3, betas=(0.8, 0.95), eps=1e-3),
}


@pytest.mark.parametrize("name", PEERS)
def test_equals_torch_optim(name):
    config = ServerConfig(optimizer=name, learning_rate=0.3, momentum=0.8, beta2=0.95, adam_epsilon=1e-3)
    g = torch.Generator().manual_seed(0)
    theta = torch.randn(9, generator=g, dtype=torch.float64)
    parameter = torch.nn.Parameter(theta.clone())
    peer = PEERS[name]([parameter])
    state = initial_state(9)
    for _ in range(5):
        gradient = torch.randn(9, generator=g, dtype=torch.float64)
        theta, state = server_step(theta, gradient, state, config, 5)
        parameter.grad = gradient
        peer.step()
        torch.testing.assert_close(theta, parameter.detach())
    assert state.steps == 5


@pytest.mark.parametrize(
    ("schedule", "middle", "last"), [("constant", 2.0, 2.0), ("linear", 1.0, 0.02), ("cosine", 1.0, 0.0005)]
)
def test_schedules_start_at_the_full_rate_and_fall_as_named(schedule, middle, last):
    config = ServerConfig(learning_rate=2.0, schedule=schedule)
    assert learning_rate(config, 0, 100) == 2.0
    assert learning_rate(config, 50, 100) == pytest.approx(middle)
    assert learning_rate(config, 99, 100) == pytest.approx(last, rel=0.05)
