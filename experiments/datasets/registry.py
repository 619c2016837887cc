"""Which image data sets exist: names, and where each comes from.

Takes a name; gives `ImageData`. A new data set is one line: `register(IdxSource(...))`. It must never hide
where data came from: `ImageData.source` says it, and a wrong file is refused by its source.
"""

from __future__ import annotations

import difflib
from typing import Protocol

from experiments.datasets.catalogue_entry import CatalogueEntry
from experiments.datasets.embedded import DigitsSource
from experiments.datasets.idx_source import IdxSource
from experiments.datasets.image_data import ImageData
from secagg.errors import SottoError

__all__ = ["ImageSource", "catalogue", "image_names", "load_images", "register"]


class ImageSource(Protocol):
    """Where one data set comes from."""

    @property
    def name(self) -> str:
        """Registry name."""

    def load(self) -> ImageData:
        """The whole set in memory."""

    def describe(self) -> CatalogueEntry:
        """Whether it is here and intact, without loading or downloading it."""


_SOURCES: dict[str, ImageSource] = {}


def register(source: ImageSource) -> None:
    """Make a data set known by its name.

    Raises:
        SottoError: if the name is taken; two sources of one name would make a run irreproducible.
    """
    if source.name in _SOURCES:
        raise SottoError(f"data set {source.name} is registered already; allowed: a name not in {image_names()}")
    _SOURCES[source.name] = source


def image_names() -> list[str]:
    """Known names, sorted."""
    return sorted(_SOURCES)


def load_images(name: str) -> ImageData:
    """Load a data set by name.

    Raises:
        SottoError: unknown name.
        DatasetMissing: not on disk and not reachable.
        DatasetCorrupt: on disk but not what was published.
    """
    source = _SOURCES.get(name)
    if source is None:
        close = difflib.get_close_matches(name, image_names(), n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise SottoError(f"unknown data set {name!r}; {hint}allowed: {', '.join(image_names())}")
    return source.load()


def catalogue() -> list[CatalogueEntry]:
    """Every known data set: where it would come from, whether it is here, whether its checksums hold."""
    return [_SOURCES[name].describe() for name in image_names()]


# md5 of train images, train labels, test images, test labels as published with each set.
register(
    IdxSource(
        name="mnist",
        folder="mnist",
        hub="ylecun/mnist",
        md5=(
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
    )
)
register(
    IdxSource(
        name="fashion_mnist",
        folder="fashion-mnist",
        hub="zalando-datasets/fashion_mnist",
        md5=(
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
    )
)
register(DigitsSource())
