"""Texts of one's own divided into users who train and users who are scored on, and written as a folder of posts.

Takes pairs of user and text; gives a folder that `data.name` takes. No user is on both sides. It must never replace a
folder's posts that it was not told to replace, and its files are for their owner only, and for no repository.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from experiments.whole_files import put_in_place
from secagg.errors import SottoError

__all__ = ["UserSplit", "split_users", "write_split"]

Row = tuple[str, str]


@dataclass(frozen=True)
class UserSplit:
    """Users on two sides.

    Attributes:
        train: user and text of those who become clients.
        test: of the others.
        few_users: users left out because they have too few texts.
        few_texts: their texts.
    """

    train: list[Row]
    test: list[Row]
    few_users: int
    few_texts: int

    @property
    def train_users(self) -> int:
        """How many may become clients."""
        return len({user for user, _ in self.train})

    @property
    def test_users(self) -> int:
        """How many are scored on."""
        return len({user for user, _ in self.test})


def split_users(rows: list[Row], test_share: float, min_texts: int, seed: int) -> UserSplit:
    """Hold out users by a public seed.

    Users are ordered by SHA-256 of seed and name, whatever their order in the file, and the first of them are held out.

    Args:
        rows: user and text.
        test_share: of the users, above 0 and below 1; at least one is held out and one is not.
        min_texts: users with fewer are left out.
        seed: public.

    Raises:
        SottoError: for a share that is not possible, or fewer than two users.
    """
    if not 0 < test_share < 1:
        raise SottoError(f"--test-share is {test_share}; allowed: above 0 and below 1")
    counts = Counter(user for user, _ in rows)
    users = [user for user, count in counts.items() if count >= min_texts]
    if len(users) < 2:
        having = f" with {min_texts} or more texts" if min_texts > 1 else ""
        raise SottoError(
            f"there {'is one user' if users else 'are no users'}{having}; needed: 2 or more, of whom some train and "
            "the others are scored on"
        )
    users.sort(key=lambda user: hashlib.sha256(f"{seed}|{user}".encode()).digest())
    held = min(max(1, round(test_share * len(users))), len(users) - 1)
    test, train = set(users[:held]), set(users[held:])
    few = {user for user, count in counts.items() if count < min_texts}
    return UserSplit(
        [row for row in rows if row[0] in train],
        [row for row in rows if row[0] in test],
        len(few),
        sum(counts[user] for user in few),
    )


def write_split(split: UserSplit, folder: Path, overwrite: bool = False) -> None:
    """Write `train.jsonl` and `test.jsonl`, readable by their owner only and ignored by git.

    Raises:
        SottoError: if there are such files and they are not to be replaced, or the folder cannot be written.
    """
    names = ("train.jsonl", "test.jsonl")
    there = [name for side in names for name in (side, f"{side}.gz") if (folder / name).exists()]
    if there and not overwrite:
        raise SottoError(f"{folder} holds {there[0]} already; choose another --out, or replace it with --overwrite")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _ignore(folder, names)
        for name in there:
            # Old train posts beside new test posts would mix users, should this be cut short; a `.gz` is read first.
            (folder / name).unlink()
        for name, rows in zip(names, (split.train, split.test), strict=True):
            _write(folder / name, rows)
    except OSError as error:
        raise SottoError(f"{folder} cannot be written: {error.strerror or error}") from None


def _ignore(folder: Path, names: tuple[str, ...]) -> None:
    """Keep the texts out of a repository that the folder may be in; what else is in it is not ours to ignore."""
    path = folder / ".gitignore"
    if not path.exists():
        ignored = names if any(folder.iterdir()) else ("*",)
        path.write_text("".join(f"{name}\n" for name in ignored), encoding="utf-8")


def _write(path: Path, rows: list[Row]) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream, put_in_place(stream, temporary, path):
        for user, text in rows:
            stream.write((json.dumps({"user": user, "text": text}, ensure_ascii=False) + "\n").encode())
