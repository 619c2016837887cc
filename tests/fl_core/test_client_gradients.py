"""One pass gives each client's own gradient, or says why it cannot."""

from __future__ import annotations

import pytest
from torch import nn

from secagg.errors import SottoError
from tests.fl_core.cohort_tasks import squares, together, vector_task


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
