"""A base from the cache is the one that would be trained, or it is trained anew."""

import dataclasses
import os
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from experiments.datasets import ImageData
from experiments.models import CnnConfig, PretrainRecipe, base_key, cache, cache_folder, pretrained_base


def images(seed: int) -> ImageData:
    generator = np.random.default_rng(seed)
    x = generator.random((60, 1, 8, 8), dtype=np.float32)
    y = generator.integers(0, 3, 60)
    return ImageData("noise", x[:40], y[:40], x[40:], y[40:], classes=3, source="embedded")


DATA = images(0)
CONFIG = CnnConfig((8, 8), (2, 3), classes=3, kernel=3, grid=2, components=5)
RECIPE = PretrainRecipe(epochs=1, batch_size=20)


def base(folder, **changes):
    return pretrained_base(**{"config": CONFIG, "data": DATA, "recipe": RECIPE, "folder": folder, **changes})


def same(one, two) -> bool:
    a, b = one.model.state_dict(), two.model.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_the_second_time_nothing_is_trained_and_the_network_is_the_same(tmp_path, monkeypatch):
    first = base(tmp_path / "new" / "folder")
    monkeypatch.setattr(cache, "pretrain", lambda *_: pytest.fail("trained again"))
    second = base(tmp_path / "new" / "folder")
    assert (first.from_cache, second.from_cache) == (False, True)
    assert same(first, second)
    assert second.test_accuracy == first.test_accuracy
    x = torch.from_numpy(DATA.test_x)
    assert torch.equal(first.model(x), second.model(x))
    assert [path.name for path in first.path.parent.iterdir()] == [first.path.name]  # no temporary file is left


def test_everything_that_decides_the_weights_is_in_the_key(monkeypatch):
    keys = {
        base_key(CONFIG, DATA, RECIPE),
        base_key(dataclasses.replace(CONFIG, channels=(3, 3)), DATA, RECIPE),
        base_key(CONFIG, images(1), RECIPE),
        base_key(CONFIG, DATA, dataclasses.replace(RECIPE, seed=1)),
    }
    monkeypatch.setattr(torch, "__version__", "0.0")
    keys.add(base_key(CONFIG, DATA, RECIPE))
    assert len(keys) == 5


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def other_weights(path):
    save_file({name: tensor + 1 for name, tensor in load_file(path).items()}, path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"not safetensors" * 100),
        lambda path: path.write_bytes(path.read_bytes()[:-40]),
        flip_a_bit,
        other_weights,
    ],
)
def test_a_damaged_file_is_rebuilt_with_a_warning(tmp_path, damage):
    first = base(tmp_path)
    damage(first.path)
    with pytest.warns(RuntimeWarning, match="trained again"):
        rebuilt = base(tmp_path)
    assert not rebuilt.from_cache
    assert same(first, rebuilt)
    assert base(tmp_path).from_cache


def test_a_file_of_other_inputs_is_not_used(tmp_path):
    first = base(tmp_path)
    other = base(tmp_path, recipe=dataclasses.replace(RECIPE, seed=1))
    first.path.write_bytes(other.path.read_bytes())
    with pytest.warns(RuntimeWarning, match="other inputs"):
        assert same(base(tmp_path), first)


def test_an_interrupted_write_leaves_the_old_state(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        base(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_written_costs_a_warning_only(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(RuntimeWarning, match="cannot be cached"):
        assert base(tmp_path / "file").path is None


def test_the_folder_follows_the_variable(monkeypatch, tmp_path):
    monkeypatch.setenv("SOTTO_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path / "models"
    monkeypatch.delenv("SOTTO_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "sotto" / "models"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monkeypatch.setenv("SOTTO_CACHE", str(tmp_path))
        assert base(None).path.parent == tmp_path / "models"
