"""Images are checked once, cannot be changed, and are named by their content."""

import dataclasses

import numpy as np
import pytest

from experiments.datasets import DatasetCorrupt, ImageData
from secagg.errors import SottoError


def tiny(**changes: object) -> ImageData:
    x = np.linspace(0, 1, 6 * 4, dtype=np.float32).reshape(6, 1, 2, 2)
    y = np.array([0, 1, 2, 0, 1, 2], dtype=np.int64)
    fields = {
        "name": "tiny",
        "train_x": x,
        "train_y": y,
        "test_x": x[:3],
        "test_y": y[:3],
        "classes": 3,
        "source": "embedded",
    }
    return ImageData(**{**fields, **changes})


def test_it_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        tiny().name = "other"


@pytest.mark.parametrize(
    "changes",
    [
        {"train_x": np.zeros((6, 1, 2, 2))},  # float64
        {"train_x": np.zeros((6, 2, 2), np.float32)},
        {"train_x": np.full((6, 1, 2, 2), 255, np.float32)},
        {"train_x": np.full((6, 1, 2, 2), np.nan, np.float32)},
        {"train_x": np.zeros((6, 1, 3, 2), np.float32)},  # another size than test
        {"train_y": np.zeros(5, np.int64)},
        {"train_y": np.zeros(6, np.int32)},
        {"train_y": np.full(6, 3)},
        {"train_y": np.full(6, -1)},
        {"classes": 0},
    ],
)
def test_arrays_that_do_not_fit_are_refused(changes):
    with pytest.raises(DatasetCorrupt, match="tiny"):
        tiny(**changes)


def test_keep_takes_exactly_the_records_of_the_classes_and_leaves_labels_alone():
    kept = tiny().keep([2, 0])
    np.testing.assert_array_equal(kept.train_y, [0, 2, 0, 2])
    np.testing.assert_array_equal(kept.train_x, tiny().train_x[[0, 2, 3, 5]])
    np.testing.assert_array_equal(kept.test_y, [0, 2])
    assert kept.classes == 3
    assert "0, 2" in kept.note


def test_keep_nothing_means_everything():
    data = tiny()
    assert data.keep([]) is data


@pytest.mark.parametrize("labels", [[3], [-1], [0, 7]])
def test_keep_refuses_a_class_that_does_not_exist(labels):
    with pytest.raises(SottoError, match="allowed: 0 to 2"):
        tiny().keep(labels)


def test_the_digest_follows_the_content_and_only_the_content():
    assert tiny().digest() == tiny(name="renamed", note="other").digest()
    moved = tiny().train_x.copy()
    moved[0, 0, 0, 0] = 0.5
    swapped = tiny().train_y[::-1].copy()
    assert len({tiny().digest(), tiny(train_x=moved).digest(), tiny(train_y=swapped).digest()}) == 3
