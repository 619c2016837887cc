"""Data sets are known by names, and a wrong name is told what is allowed."""

import os
from pathlib import Path

import numpy as np
import pytest

from experiments.datasets import catalogue, image_names, load_images, post_names, register, registry
from experiments.datasets.embedded_images import DigitsSource
from secagg.errors import SottoError

REAL = os.environ.get("SOTTO_DATA")


def test_an_unknown_name_is_told_what_is_allowed():
    with pytest.raises(SottoError, match="did you mean fashion_mnist\\? allowed: digits, fashion_mnist, mnist$"):
        load_images("fashion-mnist")


def test_another_data_set_is_one_line(monkeypatch):
    class Twin(DigitsSource):
        name = "twin"

    monkeypatch.setattr(registry, "_IMAGES", dict(registry._IMAGES))
    register(Twin())
    assert "twin" in image_names()
    assert len(load_images("twin").train_y) == 1442
    with pytest.raises(SottoError, match="twin"):
        register(Twin())


def test_the_catalogue_lists_every_set_without_loading_any(monkeypatch, tmp_path):
    monkeypatch.setenv("SOTTO_DATA", str(tmp_path))
    rows = {entry.name: entry for entry in catalogue()}
    assert list(rows) == [*image_names(), *post_names()]
    assert rows["digits"].present
    assert rows["digits"].checksums_ok is None
    assert not rows["mnist"].present
    assert "ylecun/mnist" in rows["mnist"].origin
    assert str(tmp_path / "mnist") in rows["mnist"].origin


@pytest.mark.skipif(not REAL or not Path(REAL, "mnist").is_dir(), reason="SOTTO_DATA holds no mnist")
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_the_real_files_are_what_was_published(name):
    data = load_images(name)
    assert data.source == "SOTTO_DATA"
    assert data.train_x.shape == (60_000, 1, 28, 28)
    assert data.test_x.shape == (10_000, 1, 28, 28)
    assert float(data.train_x.max()) == 1.0
    np.testing.assert_array_equal(np.bincount(data.test_y)[:2], [980, 1135] if name == "mnist" else [1000, 1000])
    entry = next(row for row in catalogue() if row.name == name)
    assert entry.present
    assert entry.checksums_ok is True
