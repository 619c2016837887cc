"""Data sets published as four idx files (MNIST, Fashion-MNIST): from a folder, verified, else the hub.

Takes the folder that `SOTTO_DATA` names (default: the user's cache); gives `ImageData`. It must never use a
file whose md5 is not the published one, and never fall back to another source when a file is there but
wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.datasets.catalogue_entry import CatalogueEntry
from experiments.datasets.data_root import data_root
from experiments.datasets.errors import DatasetMissing
from experiments.datasets.hub import HubUnavailable, load_hub_split
from experiments.datasets.idx import parse_idx
from experiments.datasets.image_data import ImageData
from experiments.datasets.published_files import read_published, status_of

__all__ = ["IdxSource"]


@dataclass(frozen=True)
class IdxSource:
    """One data set as four idx files.

    Attributes:
        name: registry name.
        folder: sub-folder of the data root.
        hub: repository on the hub that holds the same images with columns `image` and `label`.
        md5: published md5 of train images, train labels, test images, test labels.
        classes: number of classes.
    """

    name: str
    folder: str
    hub: str
    md5: tuple[str, str, str, str]
    classes: int = 10

    FILES = (
        "train-images-idx3-ubyte.gz",
        "train-labels-idx1-ubyte.gz",
        "t10k-images-idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte.gz",
    )

    def load(self) -> ImageData:
        """Read the four files, or download the set when one is missing.

        Raises:
            DatasetCorrupt: a file is there but its md5 is not the published one, or it cannot be decoded.
            DatasetMissing: a file is missing and the hub is off-line or refuses.
        """
        root, origin = data_root()
        folder = root / self.folder
        contents = [
            read_published(folder / file, md5, self.name) for file, md5 in zip(self.FILES, self.md5, strict=True)
        ]
        missing = [file for file, content in zip(self.FILES, contents, strict=True) if content is None]
        if missing:
            return self._from_hub(folder, missing[0])
        arrays = [
            parse_idx(content, str(folder / file), 3 if "images" in file else 1)
            for file, content in zip(self.FILES, contents, strict=True)
            if content is not None
        ]
        return self._build(arrays, origin, f"idx files in {folder}, md5 as published")

    def describe(self) -> CatalogueEntry:
        """Which files are here and whether their checksums hold; reads every file, downloads nothing."""
        root, origin = data_root()
        folder = root / self.folder
        files = tuple(status_of(folder / file, md5) for file, md5 in zip(self.FILES, self.md5, strict=True))
        present = all(file.found_md5 is not None for file in files)
        origin_text = f"{origin} ({folder})" if present else f"hub ({self.hub}), or idx files put in {folder}"
        return CatalogueEntry(self.name, origin_text, present, files)

    def _from_hub(self, folder: Path, missing: str) -> ImageData:
        try:
            train = load_hub_split(self.hub, "train")
            test = load_hub_split(self.hub, "test")
        except HubUnavailable as error:
            raise DatasetMissing(
                f"data set {self.name}: file {missing} is not in {folder} (set SOTTO_DATA to the folder "
                f"that holds {self.folder}/) and the hub's {self.hub} cannot be used: {error}"
            ) from None
        return self._build([*train, *test], "hub", f"hub repository {self.hub}")

    def _build(self, arrays: list[NDArray[np.uint8]], source: str, note: str) -> ImageData:
        train_x, train_y, test_x, test_y = arrays
        return ImageData(
            name=self.name,
            train_x=_scale(train_x),
            train_y=train_y.astype(np.int64),
            test_x=_scale(test_x),
            test_y=test_y.astype(np.int64),
            classes=self.classes,
            source=source,
            note=note,
        )


def _scale(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 `[N, H, W]` in 0..255 to float32 `[N, 1, H, W]` in [0, 1]."""
    return images[:, None, :, :].astype(np.float32) / np.float32(255)
