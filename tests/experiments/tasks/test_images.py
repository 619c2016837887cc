"""Data sets stand in for each other only where one is missing, and never with a false word about the other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from experiments.datasets import DatasetMissing, ImageData
from experiments.frozen_cache import kept
from experiments.models import Cnn
from experiments.tasks import images as tasks
from fl_core.config_file import parse_config
from secagg.errors import SottoError


def images(name, size):
    x, y = np.zeros((4, 1, size, size), np.float32), np.arange(4, dtype=np.int64)
    return ImageData(name, x, y, x, y, 10, "embedded")


def load(monkeypatch, here, *overrides):
    def load_images(name):
        if name not in here:
            raise DatasetMissing(f"{name} is missing")
        return images(name, here[name])

    monkeypatch.setattr(tasks, "load_images", load_images)
    config = parse_config(OmegaConf.create({"privacy": {"epsilon": 1}}), list(overrides), "test")
    data, public, notes = tasks._load_both(config)
    return data.name, public.name, notes


def test_sets_that_are_there_are_used_without_a_word(monkeypatch):
    here = {"mnist": 28, "fashion_mnist": 28, "digits": 8}
    assert load(monkeypatch, here) == ("mnist", "fashion_mnist", [])


def test_sets_of_two_sizes_that_are_both_there_are_refused_not_replaced(monkeypatch):
    here = {"mnist": 28, "fashion_mnist": 28, "digits": 8}
    with pytest.raises(SottoError, match="digits has images of \\(8, 8\\) .* they must have one size"):
        load(monkeypatch, here, "data.name=digits")


@pytest.mark.parametrize(("there", "gone"), [("mnist", "fashion_mnist"), ("fashion_mnist", "mnist")])
def test_a_set_that_is_there_is_not_called_missing_when_it_is_replaced_too(monkeypatch, there, gone):
    data, public, notes = load(monkeypatch, {there: 28, "digits": 8})
    assert data == public == "digits"
    assert [note.split()[0] for note in notes] == [gone, "digits"]
    assert notes[1] == f"digits also stands in for {there}, whose images have another size"


def test_no_stand_in_is_used_when_it_is_refused(monkeypatch):
    with pytest.raises(DatasetMissing):
        load(monkeypatch, {"mnist": 28, "digits": 8}, "data.fallback=refuse")


@pytest.mark.parametrize(
    ("names", "classes", "says"),
    [
        (
            ("digits", "digits"),
            ([5, 6], [0, 1]),
            "to tell the classes 5, 6 of digits apart, on a network that was pre-trained on the classes 0, 1 of digits "
            "(public) and has seen none of the others",
        ),
        (
            ("digits", "digits"),
            ([1, 2], [0, 1]),
            "to tell the classes 1, 2 of digits apart, on a network that was pre-trained on the classes 0, 1 of digits "
            "(public)",
        ),
        (
            ("mnist", "kmnist"),
            ([], []),
            "to tell the 10 classes of mnist apart, on a network that was pre-trained on the 10 classes of kmnist "
            "(public)",
        ),
    ],
)
def test_what_is_learnt_names_what_the_base_has_seen(names, classes, says):
    assert tasks._learns(images(names[0], 8), classes[0], images(names[1], 8), classes[1]) == says


def test_features_are_the_same_bits_computed_now_from_disk_and_from_memory(monkeypatch, tmp_path):
    monkeypatch.setenv("SOTTO_CACHE", str(tmp_path))
    monkeypatch.setattr(kept, "_SMALL", 1)
    monkeypatch.setattr(kept, "_in_memory", {})
    computed = []
    run = Cnn.features
    monkeypatch.setattr(Cnn, "features", lambda self, images: computed.append(len(images)) or run(self, images))

    def build(*overrides):
        settings = {"data": {"name": "digits"}, "model": {"pretrain": {"data": "digits", "epochs": 1}}}
        settings |= {"privacy": {"epsilon": 1}, "federation": {"clients": 5}}
        computed.clear()
        task = tasks.image_task(parse_config(OmegaConf.create(settings), list(overrides), "test"))
        return task, task.batch(task.clients[2])[0], sum(computed)

    build()  # pre-trains
    for file in (tmp_path / "frozen").glob("*.rows"):
        file.unlink()
    anew, features, count = build()
    assert count > 0
    assert features.shape[1:] == (anew.model.get_base_model().shape.components,)
    from_disk, again, none = build("lora.rank=2", "federation.clients=5")
    assert none == 0
    in_memory, third, same = build("engine.features=memory")
    assert same == count
    assert torch.equal(features, again)
    assert torch.equal(features, third)
    assert anew.evaluate(anew.model) == from_disk.evaluate(from_disk.model) == in_memory.evaluate(in_memory.model)
    off, raw, none = build("engine.keep_features=false")
    assert none == 0
    assert raw.dim() == 4
    refused, raw, none = build("engine.features_gib=1e-9")
    assert none == 0
    assert raw.dim() == 4
    assert refused.evaluate(refused.model)["accuracy"] == off.evaluate(off.model)["accuracy"]


def test_a_client_is_the_same_only_where_its_images_are(monkeypatch, tmp_path):
    monkeypatch.setenv("SOTTO_CACHE", str(tmp_path))

    def protected(*overrides):
        settings = {"data": {"name": "digits"}, "model": {"pretrain": {"data": "digits", "epochs": 0}}}
        settings |= {"privacy": {"epsilon": 1}, "federation": {"clients": 5}}
        return tasks.image_task(parse_config(OmegaConf.create(settings), list(overrides), "test")).protected

    first = protected()
    assert (first.data, first.record) == ("digits", "an image")
    assert protected("federation.rounds=7", "data.alpha=2", "lora.rank=1") == first
    others = [protected(change) for change in ("federation.clients=6", "data.seed=1", "data.partition=dirichlet")]
    others.append(protected("data.classes=[5,6,7]"))
    assert len({other.client for other in [first, *others]}) == 5
    assert {(other.data, other.record) for other in others} == {("digits", "an image")}
