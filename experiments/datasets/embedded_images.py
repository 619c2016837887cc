"""The embedded images: scikit-learn's 1,797 handwritten digits of 8x8 pixels, always there, no download.

Takes nothing; gives `ImageData` with one fixed, public, stratified split. It must never depend on a random
seed: every user and every test has the same train and test records.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from experiments.datasets.catalogue_entry import CatalogueEntry
from experiments.datasets.image_data import ImageData

__all__ = ["DigitsSource"]

_TEST_EVERY = 5  # within each class every fifth record is a test record: 20 %, stratified


class DigitsSource:
    """scikit-learn's `load_digits`, pixels 0..16 scaled to [0, 1]."""

    name = "digits"

    def load(self) -> ImageData:
        """The whole set: 1,442 train and 355 test images of 8x8 pixels, ten classes."""
        from sklearn.datasets import load_digits  # a second to import

        pixels, labels = load_digits(return_X_y=True)
        images = (np.asarray(pixels, dtype=np.float32) / np.float32(16)).reshape(-1, 1, 8, 8)
        classes = np.asarray(labels, dtype=np.int64)
        test = _every_nth_of_each_class(classes, _TEST_EVERY)
        return ImageData(
            name=self.name,
            train_x=images[~test],
            train_y=classes[~test],
            test_x=images[test],
            test_y=classes[test],
            classes=10,
            source="embedded",
            note="scikit-learn's digits, 8x8, every fifth record of a class is a test record",
        )

    def describe(self) -> CatalogueEntry:
        """Always present; it has no files of its own to check."""
        return CatalogueEntry(self.name, "embedded (scikit-learn)", present=True)


def _every_nth_of_each_class(labels: NDArray[np.int64], nth: int) -> NDArray[np.bool_]:
    """True for the nth, 2*nth-th, ... record of each class, in file order."""
    chosen = np.zeros(len(labels), dtype=np.bool_)
    for label in np.unique(labels):
        chosen[np.flatnonzero(labels == label)[nth - 1 :: nth]] = True
    return chosen
