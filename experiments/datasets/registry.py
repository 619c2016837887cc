"""Which data sets exist: names, and where each comes from.

Takes a name; gives `ImageData` or `Posts`. A new data set is one line: `register(IdxSource(...))` or
`register_posts(PostSource(...))`. It must never hide where data came from: their `source` says it, and a wrong file is
refused by its source.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Protocol, TypeVar

from experiments.datasets.catalogue_entry import CatalogueEntry
from experiments.datasets.embedded_images import DigitsSource
from experiments.datasets.embedded_posts import TopicsSource
from experiments.datasets.errors import DatasetMissing
from experiments.datasets.idx_source import IdxSource
from experiments.datasets.image_data import ImageData
from experiments.datasets.post_source import PostSource, posts_in
from experiments.datasets.posts import Posts
from secagg.errors import SottoError

__all__ = [
    "Source",
    "catalogue",
    "image_names",
    "load_images",
    "load_posts",
    "post_names",
    "register",
    "register_posts",
]


Data = TypeVar("Data", covariant=True)


class Source(Protocol[Data]):
    """Where one data set comes from."""

    @property
    def name(self) -> str:
        """Registry name."""

    def load(self) -> Data:
        """The whole set."""

    def describe(self) -> CatalogueEntry:
        """Whether it is here and intact, without loading or downloading it."""


_IMAGES: dict[str, Source[ImageData]] = {}
_POSTS: dict[str, Source[Posts]] = {}


def register(source: Source[ImageData]) -> None:
    """Make an image data set known by its name.

    Raises:
        SottoError: if the name is taken; two sources of one name would make a run irreproducible.
    """
    _refuse_taken(source.name)
    _IMAGES[source.name] = source


def register_posts(source: Source[Posts]) -> None:
    """Make a set of posts known by its name.

    Raises:
        SottoError: if the name is taken.
    """
    _refuse_taken(source.name)
    _POSTS[source.name] = source


def image_names() -> list[str]:
    """Known image data sets, sorted."""
    return sorted(_IMAGES)


def post_names() -> list[str]:
    """Known sets of posts, sorted."""
    return sorted(_POSTS)


def load_images(name: str) -> ImageData:
    """Load an image data set by name.

    Raises:
        SottoError: unknown name.
        DatasetMissing: not on disk and not reachable.
        DatasetCorrupt: on disk but not what was published.
    """
    if name not in _IMAGES:
        raise _unknown(name, image_names(), "")
    return _IMAGES[name].load()


def load_posts(name: str) -> Posts:
    """Load a set of posts by name, or from any folder with `train.jsonl[.gz]` and `test.jsonl[.gz]`.

    Raises:
        SottoError: unknown name.
        DatasetMissing: not on disk.
        DatasetCorrupt: on disk but not what was published, or not posts.
    """
    if name in _POSTS:
        return _POSTS[name].load()
    folder = Path(name).expanduser()
    if folder.is_dir():
        return posts_in(folder, folder.name)
    if folder.name != name:
        raise DatasetMissing(f"data set {name} is no folder; allowed: {', '.join(post_names())}, or a folder of posts")
    raise _unknown(name, [*image_names(), *post_names()], ", or a folder of posts (data.name=./FOLDER)")


def catalogue() -> list[CatalogueEntry]:
    """Every known data set: where it would come from, whether it is here, whether its checksums hold."""
    images = [_IMAGES[name].describe() for name in image_names()]
    return images + [_POSTS[name].describe() for name in post_names()]


def _refuse_taken(name: str) -> None:
    taken = [*image_names(), *post_names()]
    if name in taken:
        raise SottoError(f"data set {name} is registered already; allowed: a name not in {taken}")


def _unknown(name: str, known: list[str], more: str) -> SottoError:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return SottoError(f"unknown data set {name!r}; {hint}allowed: {', '.join(known)}{more}")


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
register_posts(
    PostSource(
        name="stackoverflow",
        folder="stackoverflow",
        md5=("dd55e5273fe783d7fd439ab4e41b7ef4", "15e635b6d4041f832f22ca7a3b7c8b65"),
        note="posts of stackoverflow.com by user (CC BY-SA), not the TFF data set of that name",
    )
)
register_posts(
    PostSource(
        name="stackexchange",
        folder="stackexchange",
        md5=("c03573f696f06751c32eb4fe0fff115b", "05e4c282afb3b2ca60529a071d22c23f"),
        note="posts of 19 other Stack Exchange sites by user (CC BY-SA)",
    )
)
register_posts(TopicsSource())
