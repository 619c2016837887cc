"""One labelled image data set in memory: the type every source gives and every experiment takes.

Takes arrays that are already decoded and checks them once; gives an immutable `ImageData`. It must never
load, download or change pixels: sources do the first two, and nothing does the third.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from experiments.datasets.errors import DatasetCorrupt
from secagg.errors import SottoError

__all__ = ["ImageData"]


@dataclass(frozen=True)
class ImageData:
    """Grey-scale images with labels, split into train and test.

    Attributes:
        name: registry name, for example `mnist`.
        train_x: float32 `[N, 1, H, W]` in [0, 1].
        train_y: int64 `[N]`, each in `0 .. classes - 1`.
        test_x: as `train_x`.
        test_y: as `train_y`.
        classes: number of classes of the label space; a subset of the classes keeps it.
        source: where the pixels came from: `SOTTO_DATA`, `cache`, `hub` or `embedded`.
        note: one line for the reader of a report.
    """

    name: str
    train_x: NDArray[np.float32] = field(repr=False)
    train_y: NDArray[np.int64] = field(repr=False)
    test_x: NDArray[np.float32] = field(repr=False)
    test_y: NDArray[np.int64] = field(repr=False)
    classes: int
    source: str
    note: str = ""

    def __post_init__(self) -> None:
        if self.classes < 1:
            raise DatasetCorrupt(f"data set {self.name} has {self.classes} classes; allowed: 1 or more")
        for split, x, y in (
            ("train", self.train_x, self.train_y),
            ("test", self.test_x, self.test_y),
        ):
            _check_split(self.name, split, x, y, self.classes)
        if self.train_x.shape[1:] != self.test_x.shape[1:]:
            raise DatasetCorrupt(
                f"data set {self.name} has train images of {self.train_x.shape[2:]} pixels and test "
                f"images of {self.test_x.shape[2:]}; both splits must have one size"
            )

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return int(self.train_x.shape[2]), int(self.train_x.shape[3])

    def keep(self, labels: Sequence[int]) -> ImageData:
        """Only the records with these labels, in their old order; labels and `classes` stay as they are.

        An empty `labels` keeps everything.

        Raises:
            SottoError: if a label does not exist, or no record is left in a split.
        """
        if not labels:
            return self
        unknown = sorted(set(labels) - set(range(self.classes)))
        if unknown:
            raise SottoError(f"data set {self.name} has no class {unknown[0]}; allowed: 0 to {self.classes - 1}")
        train, test = np.isin(self.train_y, labels), np.isin(self.test_y, labels)
        if not train.any() or not test.any():
            raise SottoError(f"data set {self.name} has no records of classes {sorted(set(labels))}")
        kept = ", ".join(str(label) for label in sorted(set(labels)))
        return replace(
            self,
            train_x=self.train_x[train],
            train_y=self.train_y[train],
            test_x=self.test_x[test],
            test_y=self.test_y[test],
            note=f"{self.note}; classes {kept} only".lstrip("; "),
        )

    def digest(self) -> str:
        """SHA-256 (hex) of shapes, pixels and labels of both splits; equal content has an equal digest."""
        state = hashlib.sha256(f"{self.classes}".encode())
        for array in (self.train_x, self.train_y, self.test_x, self.test_y):
            state.update(f"|{array.dtype.str}{array.shape}|".encode())
            state.update(np.ascontiguousarray(array).data)
        return state.hexdigest()


def _check_split(name: str, split: str, x: NDArray[np.float32], y: NDArray[np.int64], classes: int) -> None:
    where = f"data set {name}, {split} split:"
    if x.dtype != np.float32 or x.ndim != 4 or x.shape[1] != 1:
        raise DatasetCorrupt(f"{where} images are {x.dtype} {x.shape}; allowed: float32 [N, 1, H, W]")
    if y.dtype != np.int64 or y.shape != (len(x),):
        raise DatasetCorrupt(f"{where} labels are {y.dtype} {y.shape}; allowed: int64 [{len(x)}]")
    if len(x) == 0:
        return
    low, high = float(x.min()), float(x.max())
    if not (low >= 0.0 and high <= 1.0):  # also catches NaN
        raise DatasetCorrupt(f"{where} pixels span {low} to {high}; allowed: 0 to 1")
    if int(y.min()) < 0 or int(y.max()) >= classes:
        raise DatasetCorrupt(f"{where} labels span {int(y.min())} to {int(y.max())}; allowed: 0 to {classes - 1}")
