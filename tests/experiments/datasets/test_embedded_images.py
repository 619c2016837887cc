"""The embedded images are scikit-learn's, divided once and for all."""

import numpy as np
from sklearn.datasets import load_digits

from experiments.datasets import load_images


def test_digits_are_scikit_learns_digits_scaled_to_one():
    data = load_images("digits")
    assert data.source == "embedded"
    assert data.image_size == (8, 8)
    assert len(data.train_y) + len(data.test_y) == 1797
    ours = np.sort(np.concatenate([data.train_x, data.test_x]).reshape(1797, -1).sum(1, dtype=np.float64))
    theirs = np.sort(load_digits().data.sum(1)) / 16
    np.testing.assert_allclose(ours, theirs)


def test_the_split_is_fixed_and_stratified():
    data, again = load_images("digits"), load_images("digits")
    assert data.digest() == again.digest()
    train, test = np.bincount(data.train_y, minlength=10), np.bincount(data.test_y, minlength=10)
    np.testing.assert_array_equal(test, (train + test) // 5)


def test_no_record_is_in_both_splits():
    data = load_images("digits")
    train = {image.tobytes() for image in data.train_x}
    assert not train & {image.tobytes() for image in data.test_x}
