"""Image classification: data, frozen pre-trained base, adapter, clients, scores.

Scores are taken on public test data only. When the wanted data set is neither on disk nor reachable and the
configuration allows it, the embedded one is used and every output names it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from peft import PeftModel
from torch import Tensor

from experiments.datasets import ImageData, division_words, load_images, partition
from experiments.frozen_cache import FrozenCache, FrozenWork
from experiments.models import Cnn, CnnConfig, PretrainRecipe, pretrained_base
from experiments.tasks.stand_ins import load_or_stand_in
from fl_core.adapters import attach_adapter
from fl_core.config import ModelConfig, RunConfig
from fl_core.model_digest import frozen_digest
from fl_core.task import FederatedTask, InWords, Protected
from secagg.errors import SottoError

__all__ = ["image_task"]

_EVAL_BATCH = 2000
_EMBEDDED = "digits"
_Inputs = Callable[[NDArray[np.int64]], Tensor]  # by record


def image_task(config: RunConfig, on_progress: Callable[[str], None] = lambda _: None) -> FederatedTask:
    """Image classification with a pre-trained convolutional base (the report's first experiment).

    Args:
        config: data, model and lora sections.
        on_progress: told in words what takes long.

    Raises:
        SottoError: if data or model cannot be had as configured.
    """
    data, public, notes = _load_both(config)
    private_classes, public_classes = list(config.data.classes), list(config.model.pretrain.classes)
    if data.name == public.name and not private_classes and not public_classes:
        half = data.classes // 2
        public_classes, private_classes = list(range(half)), list(range(half, data.classes))
        notes.append(f"{data.name}: pre-trained on classes 0-{half - 1} (public), federated on the others")
    data, public = data.keep(private_classes), public.keep(public_classes)
    base = _base(public, config.model, on_progress)
    weights = frozen_digest(base.requires_grad_(False))  # before the adapter, whose layer changes its name
    model = attach_adapter(base, config.lora)
    clients = partition(
        data.train_y, config.federation.clients, config.data.partition, config.data.alpha, config.data.seed
    )
    train, test = _rows_of(data.train_x), _rows_of(data.test_x)
    labels, test_labels = torch.from_numpy(data.train_y), torch.from_numpy(data.test_y)
    if config.engine.keep_features and set(config.lora.targets or Cnn.lora_targets) == {"fc"}:
        # The adapter sits behind everything frozen, so what it sees of a record never changes: compute it once.
        features = _Features(base, weights, FrozenCache(config.engine, on_progress))
        train, test = features.of(data.train_x) or train, features.of(data.test_x) or test

    def batch(records: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        return train(records), labels[torch.from_numpy(records)]

    return FederatedTask(
        name=data.name,
        model=model,
        clients=clients,
        batch=batch,
        loss=_cross_entropy,
        evaluate=_scorer(test, test_labels),
        source=f"{data.name} ({data.source})",
        notes=tuple(dict.fromkeys(notes)),
        protected=Protected(data.name, "an image", _client(config, private_classes)),
        in_words=InWords(_learns(data, private_classes, public, public_classes), "an image"),
    )


def _learns(data: ImageData, private: list[int], public: ImageData, seen: list[int]) -> str:
    """What the adapter learns and what its base has seen, which explains where accuracy begins."""
    kept, before = (
        f"the classes {', '.join(map(str, sorted(set(some))))}" if some else f"the {whole.classes} classes"
        for some, whole in ((private, data), (seen, public))
    )
    new = data.name == public.name and bool(private and seen) and not set(private) & set(seen)
    return (
        f"to tell {kept} of {data.name} apart, on a network that was pre-trained on {before} of {public.name} (public)"
        f"{' and has seen none of the others' if new else ''}"
    )


def _client(config: RunConfig, classes: list[int]) -> str:
    """What a client's images are: equal words only for equal divisions."""
    kept = f"classes {sorted(set(classes))}" if classes else "all classes"
    divided = division_words(config.data.partition, config.federation.clients, config.data.alpha, config.data.seed)
    return f"a client's images ({kept}, {divided})"


def _load_both(config: RunConfig) -> tuple[ImageData, ImageData, list[str]]:
    """Private and public data of one image size, and what to say of them.

    Raises:
        SottoError: if a set cannot be had, or the two that were asked for are there but differ in size.
    """
    wanted, pretrain = config.data.name, config.model.pretrain.data
    (data, notes), (public, more) = (
        load_or_stand_in(load_images, name, _EMBEDDED, config.data, "no file under SOTTO_DATA, no hub")
        for name in (wanted, pretrain)
    )
    if data.image_size != public.image_size:
        if not notes and not more:
            raise SottoError(
                f"data.name {wanted} has images of {data.image_size} pixels and model.pretrain.data {pretrain} of "
                f"{public.image_size}; they must have one size"
            )
        # One of them is a stand-in already, and images of two sizes do not fit one network.
        data = public = load_images(_EMBEDDED)
        more.append(f"{_EMBEDDED} also stands in for {pretrain if notes else wanted}, whose images have another size")
    return data, public, [*notes, *more]


def _base(public: ImageData, config: ModelConfig, on_progress: Callable[[str], None]) -> Cnn:
    """The pre-trained network (step 1 of the method), trained now or read from the cache."""
    recipe = config.pretrain
    shape = CnnConfig.for_images(public.image_size, (config.channels[0], config.channels[1]), public.classes)
    on_progress(f"pre-training on {public.name} (public), or reading it from the cache")
    base = pretrained_base(
        shape,
        public,
        PretrainRecipe(
            epochs=recipe.epochs,
            batch_size=recipe.batch_size,
            learning_rate=recipe.learning_rate,
            seed=recipe.seed,
            shift=recipe.shift,
            label_smoothing=recipe.label_smoothing,
        ),
        progress=lambda at: on_progress(f"pre-training on {public.name}: epoch {at.epoch} of {at.epochs}"),
    )
    return base.model


def _rows_of(images: NDArray[np.float32]) -> _Inputs:
    return lambda records: torch.from_numpy(images[records])


class _Features:
    """What the network behind the images gives its last layer, by record."""

    def __init__(self, base: Cnn, weights: str, cache: FrozenCache) -> None:
        self._base, self._weights, self._cache = base, weights, cache

    def of(self, images: NDArray[np.float32]) -> _Inputs | None:
        work = FrozenWork(
            what="the frozen features",
            records="images",
            weights=self._weights,
            place=f"into fc of {self._base.shape}",
            data=torch.from_numpy(images),
            row=(self._base.shape.components,),
            at_once=_EVAL_BATCH,
            device=torch.device("cpu"),
            compute=torch.no_grad()(self._base.features),
        )
        kept = self._cache.of(work)
        return None if kept is None else kept.take


def _cross_entropy(output: Tensor, inputs: tuple[Tensor, Tensor]) -> Tensor:
    return F.cross_entropy(output.float(), inputs[1], reduction="none")


def _scorer(images: _Inputs, labels: Tensor) -> Callable[[PeftModel], dict[str, float]]:
    def evaluate(model: PeftModel) -> dict[str, float]:
        model.eval()
        correct = 0
        loss = 0.0
        with torch.no_grad():
            for start in range(0, len(labels), _EVAL_BATCH):
                y = labels[start : start + _EVAL_BATCH]
                output = model(images(np.arange(start, start + len(y))))
                correct += int((output.argmax(1) == y).sum())
                loss += float(F.cross_entropy(output.float(), y, reduction="sum"))
        return {"accuracy": correct / len(labels), "test_loss": loss / len(labels)}

    return evaluate
