"""Posts by users in memory: the type every text source gives and the next-word experiment takes.

Takes tables with the columns `user` and `text`; gives an immutable `Posts` whose train and test users are disjoint. It
must never print or keep a user's name outside these tables: users are the private attribute of the experiment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from experiments.datasets.errors import DatasetCorrupt

__all__ = ["Posts"]


@dataclass(frozen=True)
class Posts:
    """Texts with their authors, split by author.

    Attributes:
        name: registry name, for example `stackoverflow`.
        train: a `datasets.Dataset` with the columns `user` and `text`, in file order.
        test: as `train`, of other users.
        digest: SHA-256 (hex) of both splits' content, which names cached tokens.
        source: where the posts came from: `SOTTO_DATA`, `cache`, `folder` or `embedded`.
        note: one line for the reader of a report.
    """

    name: str
    train: Any
    test: Any
    digest: str
    source: str
    note: str = ""

    def __post_init__(self) -> None:
        for split, table in (("train", self.train), ("test", self.test)):
            if len(table) == 0:
                raise DatasetCorrupt(f"data set {self.name}, {split} split: no post; allowed: one or more")
        shared = set(self.train.unique("user")) & set(self.test.unique("user"))
        if shared:
            raise DatasetCorrupt(
                f"data set {self.name}: {len(shared)} users are in train and in test; scores would be measured on "
                "private clients' data"
            )
