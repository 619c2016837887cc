"""Data sets published as four idx files (MNIST, Fashion-MNIST): from a folder, verified, else the hub.

Takes the folder that `SOTTO_DATA` names (default: the user's cache); gives `ImageData`. It must never use a
file whose md5 is not the published one, and never fall back to another source when a file is there but
wrong.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.datasets.catalogue_entry import CatalogueEntry, FileStatus
from experiments.datasets.hub import HubUnavailable, load_hub_split
from experiments.datasets.idx import parse_idx
from experiments.datasets.image_data import DatasetCorrupt, DatasetMissing, ImageData
from secagg.errors import SottoError

__all__ = ["IdxSource", "data_root", "md5_of"]


def data_root() -> tuple[Path, str]:
    """The folder that holds data sets, and its name in reports: `SOTTO_DATA` if set, else a user cache."""
    named = os.environ.get("SOTTO_DATA")
    if named:
        return Path(named).expanduser(), "SOTTO_DATA"
    return Path.home() / ".cache" / "sotto" / "data", "cache"


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
        contents = [self._read(folder / file, md5) for file, md5 in zip(self.FILES, self.md5, strict=True)]
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
        files = tuple(
            FileStatus(folder / file, md5, md5_of(folder / file))
            for file, md5 in zip(self.FILES, self.md5, strict=True)
        )
        present = all(file.found_md5 is not None for file in files)
        origin_text = f"{origin} ({folder})" if present else f"hub ({self.hub}), or idx files put in {folder}"
        return CatalogueEntry(self.name, origin_text, present, files)

    def _read(self, path: Path, md5: str) -> bytes | None:
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SottoError(
                f"data set {self.name}: {path} cannot be read ({error.strerror}); check SOTTO_DATA"
            ) from None
        found = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if found != md5:
            raise DatasetCorrupt(
                f"data set {self.name}: {path} is not the published file (expected md5 {md5}, found {found}, "
                f"{len(content)} bytes); replace or remove it"
            )
        return content

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


def md5_of(path: Path) -> str | None:
    """The file's md5 (hex), or None when it cannot be read."""
    try:
        return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    except OSError:
        return None
