"""Whether a folder that was named for output is somebody else's: a mistyped `--out` is most often that of the data.

Takes a path; raises a sentence, or does nothing. It must never write.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fl_core.storage import StorageError

__all__ = ["refuse_foreign"]

_TEXTS = ("train.jsonl", "train.jsonl.gz", "test.jsonl", "test.jsonl.gz")
_DISK = "lost+found"  # in the root of a disk
_LOGS = (".log", ".out", ".err")  # what a shell or a scheduler wrote there meanwhile


def refuse_foreign(folder: Path, kind: str, own: Callable[[Path], bool]) -> None:
    """Refuse a folder that holds texts, or files and nothing of what would be written there.

    Hidden files and logs count for nothing.

    Args:
        folder: need not be there.
        kind: what is to be written, for the sentence: run, or report.
        own: whether something in it belongs to such a folder.

    Raises:
        StorageError: naming what is there.
    """
    for part in (folder, *folder.parents):
        if part.exists() and not part.is_dir():
            raise StorageError(f"{folder} cannot be written: {part} is a file; allowed: a folder, new or empty")
    found = sorted(folder.iterdir()) if folder.exists() else []
    there = [entry for entry in found if entry.name != _DISK and not entry.name.startswith(".")]
    there = [entry for entry in there if not entry.name.endswith(_LOGS)]
    texts = [entry for entry in there if entry.name in _TEXTS]
    if texts or (there and not any(map(own, there))):
        first = (texts or there)[0].name
        raise StorageError(f"{folder} holds {first} and is no {kind}'s folder; choose a new or empty one with --out")
