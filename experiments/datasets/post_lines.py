"""Posts of one's own, read line by line into memory.

Takes a `.jsonl` or `.jsonl.gz` file of objects with the texts `user` and `text`; gives them in its order. It must never
write: whose texts these are decides where they are kept, and no cache may hold a copy that outlives the folder.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.datasets.errors import DatasetCorrupt

__all__ = ["read_posts"]

_LONGEST = 2**24  # characters of a line: a small packed file may hold one that no memory does


def read_posts(path: Path, name: str) -> dict[str, list[str]]:
    """The columns `user` and `text`, equally long; other keys of the objects are left out, and empty lines.

    Raises:
        DatasetCorrupt: naming file and line, for whatever is no such object.
    """
    columns: dict[str, list[str]] = {"user": [], "text": []}
    for where, line in _lines(path, f"data set {name}: {path}"):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DatasetCorrupt(f"{where} cannot be read as JSON lines: {error}") from None
        if not isinstance(row, dict):
            raise DatasetCorrupt(f"{where} holds no object; allowed: one {{...}} a line")
        for key, column in columns.items():
            column.append(_text(row.get(key), f"{where} has no text {key!r}"))
    return columns


def _lines(path: Path, what: str) -> Iterator[tuple[str, str]]:
    """Where each line is, in words, and what is in it."""
    number = 0
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8-sig")
            if path.suffix == ".gz"
            else path.open(encoding="utf-8-sig") as lines
        ):
            while line := lines.readline(_LONGEST + 1):
                number += 1
                if len(line) > _LONGEST:
                    raise DatasetCorrupt(f"{what}, line {number} is longer than {_LONGEST:,} characters")
                if line.strip():
                    yield f"{what}, line {number}", line
    except UnicodeError:
        raise DatasetCorrupt(f"{what} is not UTF-8 after line {number}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetCorrupt(f"{what} cannot be read after line {number}: {error}") from None


def _text(value: Any, missing: str) -> str:
    if not isinstance(value, str):
        raise DatasetCorrupt(f"{missing} (found: {'nothing' if value is None else type(value).__name__})")
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise DatasetCorrupt(f"{missing} (found: half of a surrogate pair, which is no character)")
    return value
