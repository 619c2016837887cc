"""The base learns from public images, the same way for the same seed."""

import dataclasses
import math

import pytest
import torch

from experiments.datasets import load_images
from experiments.models import Cnn, CnnConfig, PretrainRecipe, accuracy, pretrain
from secagg.errors import SottoError

DIGITS = load_images("digits")
CONFIG = CnnConfig.for_images((8, 8), (8, 16))
RECIPE = PretrainRecipe(epochs=6, batch_size=32, learning_rate=5e-3, shift=1, label_smoothing=0.0)


@pytest.fixture(scope="module")
def trained():
    seen = []
    torch.manual_seed(5)
    model = pretrain(CONFIG, DIGITS, RECIPE, seen.append)
    drawn = torch.rand(3)
    return model, seen, drawn


def test_it_learns_the_digits(trained):
    model, _, _ = trained
    assert accuracy(model, torch.from_numpy(DIGITS.test_x), torch.from_numpy(DIGITS.test_y)) > 0.93
    assert not model.training


def test_progress_is_told_once_an_epoch(trained):
    _, seen, _ = trained
    assert [row.epoch for row in seen] == [1, 2, 3, 4, 5, 6]
    assert seen[-1].loss < seen[0].loss / 4
    assert seen[-1].test_accuracy > 0.93


def test_the_seed_alone_decides_and_the_global_random_state_is_left_alone(trained):
    model, _, drawn = trained
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), drawn)
    again = pretrain(CONFIG, DIGITS, RECIPE)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    other = pretrain(CONFIG, DIGITS, dataclasses.replace(RECIPE, seed=1, epochs=0))
    assert not torch.equal(other.conv1.weight, again.conv1.weight)


def test_no_epochs_give_the_initial_network_with_fitted_normalisation():
    model = pretrain(CONFIG, DIGITS, dataclasses.replace(RECIPE, epochs=0))
    torch.manual_seed(RECIPE.seed)
    assert torch.equal(model.conv1.weight, Cnn(CONFIG).conv1.weight)
    assert model.center.abs().sum() > 0


def test_divergence_is_an_error_in_one_sentence():
    with pytest.raises(SottoError, match="model.pretrain.learning_rate"):
        pretrain(CONFIG, DIGITS, dataclasses.replace(RECIPE, learning_rate=1e30, epochs=1))


def test_images_or_classes_that_do_not_fit_are_refused():
    with pytest.raises(SottoError, match="pixels"):
        pretrain(CnnConfig.for_images((28, 28)), DIGITS, RECIPE)
    with pytest.raises(SottoError, match="classes"):
        pretrain(CnnConfig.for_images((8, 8), classes=5), DIGITS, RECIPE)


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": -1},
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"learning_rate": math.nan},
        {"seed": -1},
        {"shift": -1},
        {"label_smoothing": 1.0},
    ],
)
def test_a_recipe_out_of_range_names_its_key(wrong):
    with pytest.raises(SottoError, match=f"model.pretrain.{next(iter(wrong))} is .*allowed"):
        PretrainRecipe(**wrong)


def test_accuracy_counts_over_batches_and_keeps_the_mode():
    model = torch.nn.Flatten()  # the "logits" are the pixels
    images = torch.eye(4)[torch.arange(10) % 4].reshape(10, 1, 2, 2)
    labels = torch.arange(10) % 4
    labels[:3] = (labels[:3] + 1) % 4
    assert accuracy(model, images, labels, batch_size=3) == pytest.approx(0.7)
    assert model.training
    assert math.isnan(accuracy(model, images[:0], labels[:0]))
