"""One pass gives each client's own gradient, or says why it cannot."""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

from fl_core.adapters import flat_adapter
from fl_core.gradients.client_gradients import bytes_of_sample, client_gradients
from fl_core.gradients.saved_memory import SavedMemory
from fl_core.gradients.stacked_adapters import stack_of
from secagg.errors import SottoError
from tests.fl_core.cohort_tasks import CASES, squares, together, vector_task
from tests.fl_core.tiny import tiny_config, tiny_task


class Mixing(nn.Module):
    """Each row minus the batch's mean: rows see each other."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(5, 3)

    def forward(self, x):
        return self.fc(x - x.mean(0))


@pytest.mark.parametrize(
    ("base", "targets", "loss", "says"),
    [
        (Mixing(), ["fc"], squares, "mixes samples"),
        (nn.Sequential(nn.Linear(5, 3)), ["0"], lambda y, _: (y - y.mean(0)).square().sum(1), "mixes samples"),
        (nn.Sequential(nn.Linear(5, 3)), ["0"], lambda y, _: y.square().mean(), "one loss per sample"),
        (nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3)), ["0"], squares, "normalises over the batch"),
        (nn.Sequential(nn.Linear(5, 3)), ["0"], lambda y, _: y.detach().square().sum(1), "does not depend"),
    ],
)
def test_what_would_let_one_client_into_anothers_update_is_refused(base, targets, loss, says):
    with pytest.raises(SottoError, match=says):
        together(vector_task(base, targets, loss))


def test_an_adapter_that_has_no_part_in_the_loss_is_named():
    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.idle = nn.Linear(5, 3), nn.Linear(5, 3)

        def forward(self, x):
            return self.used(x)

    with pytest.raises(SottoError, match=r"idle.lora_A.*got no gradient"):
        together(vector_task(Half(), ["used", "idle"], squares))


@pytest.mark.parametrize("case", ["cnn, all", "gpt2", "llama"])
def test_what_a_pass_keeps_is_what_was_foretold(case):
    task = CASES[case]()
    task.model.train()
    theta = flat_adapter(task.model)
    foretold = bytes_of_sample(task, theta)
    assert bytes_of_sample(task, theta) == foretold
    stack = stack_of(task.model, theta, 3)
    with SavedMemory([*task.model.parameters(), *task.model.buffers(), *stack]) as memory:
        client_gradients(task, stack, [np.arange(4), np.arange(4, 8), np.arange(8, 12)])
        kept = memory.bytes
    # A few tensors are the same for all samples (positions, masks), so a sample's part is no more than foretold.
    assert 0.8 * foretold <= kept / 12 <= 1.05 * foretold


def test_no_records_at_all_keep_nothing():
    task = tiny_task(tiny_config("federation.clients=1"))
    object.__setattr__(task, "clients", (np.zeros(0, np.int64),) * 3)
    assert bytes_of_sample(task, flat_adapter(task.model)) == 0
