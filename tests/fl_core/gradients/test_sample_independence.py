"""Samples that change each other's gradient are found out, and rounding is not taken for them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fl_core.gradients.private_gradient import PrivateGradient
from secagg.errors import SottoError
from tests.fl_core.gradients.words_and_pixels import LABELS, adapted, batch, loss_fn
from tests.fl_core.lora_models import lora_model


def weighted_mean(losses):
    """As an average over all tokens of a batch: a sample's weight depends on its neighbours' lengths."""
    weights = torch.arange(1.0, len(losses) + 1)
    return (weights * losses).sum() / weights.sum()


@pytest.mark.parametrize(
    "mixed",
    [
        lambda output, inputs: weighted_mean(loss_fn(output, inputs)).expand(len(output)),
        lambda output, inputs: F.cross_entropy(output - output.mean(0), LABELS[: len(output)], reduction="none"),
    ],
    ids=["a weighted mean handed out as if it were per sample", "outputs centred over the batch"],
)
def test_a_loss_that_mixes_samples_is_refused(mixed):
    with pytest.raises(SottoError, match="mixes samples"):
        PrivateGradient(adapted(["fc"]), clip_norm=1.0)(batch(), mixed)


@pytest.mark.parametrize(
    ("change", "samples", "refused"), [(0.005, 1, False), (0.005, 2, False), (0.005, 5, True), (0.05, 1, True)]
)
def test_a_small_change_by_rounding_at_a_kink_is_no_mixing_unless_several_samples_show_it(change, samples, refused):
    inputs = batch()
    kinked = [float(image.sum()) for image in inputs["images"][:samples]]

    def loss(output, some):
        losses = loss_fn(output, some)
        alone = len(losses) != 2 or float(some["images"][0].sum()) not in kinked
        return losses if alone else losses * (1 + change)

    gradient = PrivateGradient(adapted(["fc"]), clip_norm=1.0)
    if refused:
        with pytest.raises(SottoError, match="mixes samples"):
            gradient(inputs, loss)
    else:
        assert gradient(inputs, loss).nonfinite == 0


def test_rounding_in_a_vanished_gradient_is_no_mixing():
    """A softmax as sure as noisy rounds make it: of 1 - p, float32 knows a few bits only."""
    inputs = batch()
    saturated = [float(image.sum()) for image in inputs["images"][:2]]

    def loss(output, some):
        losses = loss_fn(output, some)
        faint = torch.tensor([float(image.sum()) in saturated for image in some["images"]])
        return torch.where(faint, losses * (1e-7 if len(losses) == 2 else 2e-7), losses)

    assert PrivateGradient(adapted(["fc"]), clip_norm=1.0)(inputs, loss).nonfinite == 0

    def mixing(output, some):
        return loss(output, some) / len(output)

    with pytest.raises(SottoError, match="mixes samples"):
        PrivateGradient(adapted(["fc"]), clip_norm=1.0)(inputs, mixing)


def test_batch_norm_in_training_mode_is_refused_and_allowed_in_evaluation_mode():
    model = lora_model(nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4)), ["0"])
    inputs = torch.randn(5, 6)
    model.train()
    with pytest.raises(SottoError, match="normalises over the batch"):
        PrivateGradient(model, clip_norm=1.0)(inputs, loss_fn)
    model.eval()
    PrivateGradient(model, clip_norm=1.0)(inputs, loss_fn)


def test_rows_in_another_order_than_sample_by_sample_are_refused():
    class Interleaved(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(6, 4)

        def forward(self, x):
            rows = x.transpose(0, 1).reshape(-1, 6)  # position by position
            return self.fc(rows).view(x.shape[1], x.shape[0], 4).mean(0)

    with pytest.raises(SottoError, match="mixes samples"):
        PrivateGradient(lora_model(Interleaved(), ["fc"]), clip_norm=1.0)(torch.randn(4, 3, 6), loss_fn)
