"""Stacked adapters fit the model, and their rows are told apart or refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fl_core.adapters import flat_adapter
from fl_core.gradients.stacked_adapters import flat_stack, stack_of, stacked_lora
from fl_core.local_training import local_updates
from secagg.errors import SottoError
from tests.fl_core.cohort_tasks import (
    CASES,
    CONFIG,
    SIZES,
    TOGETHER,
    squares,
    streams_of,
    task_of,
    together,
    vector_task,
)
from tests.fl_core.lora_models import lora_model


def test_every_client_starts_from_the_broadcast_adapter_in_its_order():
    model = CASES["cnn, all"]().model
    theta = torch.randn(len(flat_adapter(model)))
    assert torch.equal(flat_stack(stack_of(model, theta, 3)), theta.expand(3, -1))


def test_rows_of_equal_adapters_are_the_models_own_and_of_others_are_not():
    task = vector_task(nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)), ["0", "2"], squares)
    x, theta = torch.randn(6, 5), flat_adapter(task.model)
    stack = stack_of(task.model, theta, 3)
    want = task.model(x)
    with stacked_lora(task.model, stack, 6):
        torch.testing.assert_close(task.model(x), want)
        stack[1][1] *= 2
        got = task.model(x)
    torch.testing.assert_close(got[[0, 1, 4, 5]], want[[0, 1, 4, 5]])
    assert not torch.isclose(got[[2, 3]], want[[2, 3]]).any()
    assert torch.equal(task.model(x), want)


def test_rows_that_cannot_be_told_apart_are_refused():
    class Turned(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 3)

        def forward(self, x):
            return self.fc(x.view(len(x), 5, 3).transpose(0, 1)).transpose(0, 1)

    x = torch.randn(sum(SIZES), 15)
    model = lora_model(Turned(), ["fc"])
    task = task_of(model, lambda records: x[records], lambda y, _: y.square().sum((1, 2)))
    with pytest.raises(SottoError, match=r"fc sees 5 rows for 1 samples; its inputs must keep the batch first"):
        together(task)


def test_what_is_trainable_outside_lora_layers_is_refused():
    task = vector_task(nn.Sequential(nn.Linear(5, 3), nn.Linear(3, 3)), ["0"], squares)
    task.model.base_model.model[1].weight.requires_grad_(True)
    with pytest.raises(SottoError, match="1.weight has no per-sample rule"):
        together(task)


def test_adapters_that_do_not_fit_the_model_are_refused():
    task = CASES["cnn fc"]()
    theta = flat_adapter(task.model)
    for wrong, says in ((theta[:-1], "adapter has"), (theta / 0, "not finite")):
        with pytest.raises(ValueError, match=says):
            local_updates(task, wrong, [task.clients[0]], CONFIG, streams_of([0]), TOGETHER)
