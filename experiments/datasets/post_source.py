"""Posts from a folder with `train.jsonl.gz` and `test.jsonl.gz`, one object `{"user", "text", ...}` a line.

Takes the folder that `SOTTO_DATA` names, or any folder of that form; gives `Posts`. A published set is read only if its
files are the published ones, and goes through `datasets`, whose cache makes the second load immediate. Posts of any
other folder are somebody's own, and must never be copied to a cache.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.cache_root import private_folder
from experiments.datasets.catalogue_entry import CatalogueEntry
from experiments.datasets.data_root import data_root
from experiments.datasets.errors import DatasetCorrupt, DatasetMissing
from experiments.datasets.post_lines import read_posts
from experiments.datasets.posts import Posts
from experiments.datasets.published_files import read_published, status_of
from fl_core.first_line import first_line

__all__ = ["PostSource", "posts_in"]

_SPLITS = ("train", "test")


@dataclass(frozen=True)
class PostSource:
    """One published set of posts.

    Attributes:
        name: registry name.
        folder: sub-folder of the data root.
        md5: of `train.jsonl.gz` and `test.jsonl.gz`.
        note: one line for the reader of a report.
    """

    name: str
    folder: str
    md5: tuple[str, str]
    note: str

    def load(self) -> Posts:
        """Both splits.

        Raises:
            DatasetMissing: a file is not there.
            DatasetCorrupt: a file is there but is not the published one.
        """
        root, origin = data_root()
        folder = root / self.folder
        for split, md5 in zip(_SPLITS, self.md5, strict=True):
            path = folder / f"{split}.jsonl.gz"
            if read_published(path, md5, self.name) is None:
                raise DatasetMissing(
                    f"data set {self.name}: {path} is not there; set SOTTO_DATA to the folder that holds {self.folder}/"
                )
        return _read(folder, self.name, origin, self.note, _cached)

    def describe(self) -> CatalogueEntry:
        """Whether its files are here and intact."""
        root, origin = data_root()
        folder = root / self.folder
        files = tuple(
            status_of(folder / f"{split}.jsonl.gz", md5) for split, md5 in zip(_SPLITS, self.md5, strict=True)
        )
        present = all(file.found_md5 is not None for file in files)
        where = f"{origin} ({folder})" if present else f"posts put in {folder}"
        return CatalogueEntry(self.name, where, present, files)


def posts_in(folder: Path, name: str) -> Posts:
    """The posts in any folder with `train` and `test` as `.jsonl` or `.jsonl.gz`, in memory alone.

    Raises:
        DatasetMissing: if one of the two is not there.
        DatasetCorrupt: if one cannot be read as lines of objects with the texts `user` and `text`.
    """
    return _read(folder, name, "folder", "", _in_memory)


def _read(folder: Path, name: str, source: str, note: str, table: Callable[[Path, str], Any]) -> Posts:
    paths = [_split_file(folder, split, name) for split in _SPLITS]
    state = hashlib.sha256()
    for path in paths:
        state.update(hashlib.sha256(path.read_bytes()).digest())
    train, test = (table(path, name) for path in paths)
    return Posts(name, train, test, state.hexdigest(), source, note)


def _split_file(folder: Path, split: str, name: str) -> Path:
    for ending in ("jsonl.gz", "jsonl"):
        path = folder / f"{split}.{ending}"
        if path.is_file():
            return path
    raise DatasetMissing(f"data set {name}: {folder} holds neither {split}.jsonl.gz nor {split}.jsonl")


def _in_memory(path: Path, name: str) -> Any:
    import datasets  # seconds to import

    datasets.disable_progress_bars()
    return datasets.Dataset.from_dict(read_posts(path, name))


def _cached(path: Path, name: str) -> Any:
    import datasets  # seconds to import

    datasets.disable_progress_bars()
    try:
        table = datasets.load_dataset(
            "json", data_files=str(path), split="train", cache_dir=str(private_folder("datasets"))
        )
    except Exception as error:  # the builder's errors share no base class; all mean that the file is not such lines
        cause = first_line(error.__cause__ or error)
        raise DatasetCorrupt(f"data set {name}: {path} cannot be read as JSON lines: {cause}") from None
    for column in ("user", "text"):
        kind = getattr(table.features.get(column), "dtype", None)
        if kind not in ("string", "large_string"):
            raise DatasetCorrupt(f"data set {name}: {path} has no text column {column!r} (found: {kind or 'nothing'})")
        if table.data.column(column).null_count:
            raise DatasetCorrupt(f"data set {name}: {path} has posts whose {column} is missing or null")
        try:
            table.data.column(column).validate(full=True)
        except ValueError:
            raise DatasetCorrupt(f"data set {name}: {path} has a {column} that is not UTF-8") from None
    return table.select_columns(["user", "text"])
