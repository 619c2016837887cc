"""Step 1 of the method for images: supervised training of the base network on public data.

Takes an `ImageData` and a recipe; gives a trained `Cnn`. It must never see private records: no privacy is
spent here, because everything used is public, the seed included.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.datasets.image_data import ImageData
from experiments.models.cnn import Cnn, CnnConfig
from secagg.errors import SottoError

__all__ = ["PretrainProgress", "PretrainRecipe", "accuracy", "pretrain"]


@dataclass(frozen=True)
class PretrainRecipe:
    """How the base is trained: Adam, learning rate up and down once (Smith, Topin 2017, "Super-Convergence").

    Attributes:
        epochs: passes over the training split; 0 gives the untrained initial network.
        batch_size: images per step.
        learning_rate: the peak of the schedule.
        seed: public; fixes initial weights, order and shifts.
        shift: each batch is moved by up to this many pixels in both directions.
        label_smoothing: mass spread over all classes; keeps the head's logits small, so the adapter has less
            to undo.
    """

    epochs: int = 3
    batch_size: int = 128
    learning_rate: float = 2e-3
    seed: int = 0
    shift: int = 2
    label_smoothing: float = 0.2

    def __post_init__(self) -> None:
        def need(condition: bool, key: str, value: object, allowed: str) -> None:
            if not condition:
                raise SottoError(f"model.pretrain.{key} is {value}; allowed: {allowed}")

        need(self.epochs >= 0, "epochs", self.epochs, "0 or more")
        need(self.batch_size >= 1, "batch_size", self.batch_size, "1 or more")
        rate = self.learning_rate
        need(math.isfinite(rate) and rate > 0, "learning_rate", rate, "a finite number above 0")
        need(0 <= self.seed < 2**63, "seed", self.seed, "0 to 2^63 - 1")
        need(self.shift >= 0, "shift", self.shift, "0 or more")
        need(0 <= self.label_smoothing < 1, "label_smoothing", self.label_smoothing, "0 to below 1")


@dataclass(frozen=True)
class PretrainProgress:
    """After one epoch: its 1-based number, mean training loss (nats), test accuracy, seconds so far."""

    epoch: int
    epochs: int
    loss: float
    test_accuracy: float
    seconds: float


def pretrain(
    config: CnnConfig,
    data: ImageData,
    recipe: PretrainRecipe,
    progress: Callable[[PretrainProgress], None] | None = None,
) -> Cnn:
    """Train a `Cnn` on `data`'s training split; torch's global random state is left untouched.

    Three steps: the convolutions with a head of their own; centre and whitening of their outputs; fc on the result.

    Args:
        config: shape of the network; must fit `data`'s images and classes.
        data: public images.
        recipe: how to train.
        progress: called after every epoch (costs one pass over the test split).

    Raises:
        SottoError: if the shape does not fit the data, or the training diverged.
    """
    check_fit(config, data)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = Cnn(config)
        first_head = nn.Linear(config.pooled, config.classes)
    generator = torch.Generator().manual_seed(recipe.seed)
    images, labels = torch.from_numpy(data.train_x), torch.from_numpy(data.train_y)
    test_images, test_labels = torch.from_numpy(data.test_x), torch.from_numpy(data.test_y)
    rate = recipe.learning_rate
    optimizer = torch.optim.Adam([*_convolutions(model), *first_head.parameters()], lr=rate)
    steps = recipe.epochs * math.ceil(len(images) / recipe.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps + 1)
    start = time.monotonic()
    for epoch in range(1, recipe.epochs + 1):
        total = 0.0
        for batch in torch.split(torch.randperm(len(images), generator=generator), recipe.batch_size):
            logits = first_head(model.pooled(_shift(images[batch], recipe.shift, generator)))
            total += _step(logits, labels[batch], optimizer, recipe.label_smoothing) * len(batch)
            schedule.step()
        if not math.isfinite(total):
            raise SottoError(
                f"pre-training on {data.name} diverged in epoch {epoch}; lower model.pretrain.learning_rate ({rate})"
            )
        if progress is not None:
            both = nn.Sequential(_Pooled(model), first_head)
            reached = accuracy(both, test_images, test_labels)
            seconds = time.monotonic() - start
            progress(PretrainProgress(epoch, recipe.epochs, total / len(images), reached, seconds))
    with torch.no_grad():
        pooled = torch.cat([model.pooled(part) for part in torch.split(images, 2000)])
    model.fit_normalisation(pooled)
    _fit_head(model, pooled, labels, recipe, generator)
    return model.eval()


def _fit_head(model: Cnn, pooled: Tensor, labels: Tensor, recipe: PretrainRecipe, generator: torch.Generator) -> None:
    """Train fc on the final, now fixed features: the convolutions were trained with a head of their own."""
    with torch.no_grad():
        features = torch.cat([model.normalise(part) for part in torch.split(pooled, 2000)])
    optimizer = torch.optim.Adam(model.fc.parameters(), lr=recipe.learning_rate)
    for _ in range(recipe.epochs):
        for batch in torch.split(torch.randperm(len(features), generator=generator), recipe.batch_size):
            _step(model.fc(features[batch]), labels[batch], optimizer, recipe.label_smoothing)


def _step(logits: Tensor, labels: Tensor, optimizer: torch.optim.Optimizer, smoothing: float) -> float:
    """One optimiser step on the mean cross entropy; returns it."""
    loss = F.cross_entropy(logits, labels, label_smoothing=smoothing)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return float(loss.detach())


def _convolutions(model: Cnn) -> list[nn.Parameter]:
    return [*model.conv1.parameters(), *model.conv2.parameters()]


class _Pooled(nn.Module):
    """The convolutions as a module, so that `accuracy` can judge them under the head they are trained with."""

    def __init__(self, model: Cnn) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """`Cnn.pooled`."""
        return self.model.pooled(images)


def accuracy(model: torch.nn.Module, images: Tensor, labels: Tensor, batch_size: int = 2000) -> float:
    """Share of `images [n, 1, H, W]` whose largest logit is the label; NaN for no images."""
    if len(images) == 0:
        return math.nan
    training = model.training
    model.eval()
    with torch.no_grad():
        batches = zip(torch.split(images, batch_size), torch.split(labels, batch_size), strict=True)
        right = sum(int((model(x).argmax(1) == y).sum().item()) for x, y in batches)
    model.train(training)
    return right / len(images)


def check_fit(config: CnnConfig, data: ImageData) -> None:
    """Refuse a network whose input or output does not fit the data.

    Raises:
        SottoError: sizes or classes differ.
    """
    if data.image_size != config.image_size:
        raise SottoError(
            f"data set {data.name} has images of {data.image_size} pixels; allowed by the model: {config.image_size}"
        )
    if data.classes > config.classes:
        raise SottoError(
            f"data set {data.name} has {data.classes} classes; allowed by the model's head: at most {config.classes}"
        )


def _shift(images: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Move a batch by one random offset of up to `most` pixels each way, wrapping around."""
    if most == 0:
        return images
    down, right = (int(value) for value in torch.randint(-most, most + 1, (2,), generator=generator))
    return torch.roll(images, (down, right), dims=(2, 3))
