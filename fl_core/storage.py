"""Files and folders on a disk that may be full or lose power: every file whole or as it was, one process at a time.

Takes paths and bytes; gives one sentence where something cannot be written. It must never leave a half-written file in
the place of a whole one.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from secagg.errors import SottoError

__all__ = [
    "FolderInUse",
    "StorageError",
    "draft_of",
    "lock_folder",
    "storage_errors",
    "sync_folder",
    "write_atomically",
    "write_json",
]


class StorageError(SottoError):
    """A file or folder of a run, a budget or a model cannot be used or written."""


class FolderInUse(StorageError):
    """Another process holds the folder."""


@contextlib.contextmanager
def storage_errors(what: Path) -> Iterator[None]:
    """Turn an OSError while writing `what` into one sentence."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{what} cannot be written: {error.strerror or error}; what was written before is intact, "
            "free space or choose another --out, then use --resume"
        ) from None


def draft_of(path: Path) -> Path:
    """Where what is to replace `path` is written first; a killed process may leave it behind."""
    return path.with_name(f".{path.name}.tmp")


def write_atomically(path: Path, data: bytes, private: bool = False) -> None:
    """Replace `path` by `data` in one step, on disk before returning; `private`: readable by its owner only.

    Raises:
        StorageError: if the disk is full or not writable; the old content stays.
    """
    draft = draft_of(path)
    with storage_errors(path):
        try:
            with draft.open("wb") as handle:
                if private:
                    os.fchmod(handle.fileno(), 0o600)
                handle.write(data)
                handle.flush()
                os.fsync(handle.fileno())
            os.replace(draft, path)
            sync_folder(path.parent)
        finally:
            draft.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by a value as strict JSON, on disk before returning.

    Raises:
        StorageError: as `write_atomically`.
        ValueError: for a number that is not finite.
    """
    write_atomically(path, (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode())


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk before returning; raises OSError if that cannot be."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def lock_folder(path: Path) -> IO[str]:
    """Make the folder if need be and hold its lock until the returned file is closed.

    Raises:
        FolderInUse: if another process holds it.
        StorageError: if it cannot be written.
    """
    with storage_errors(path):
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True)
        for folder in missing:
            sync_folder(folder.parent)  # a folder that a crash forgets would take its ledger with it
        lock = (path / ".lock").open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(lock.fileno()).st_nlink == 0:
            raise OSError("removed with its folder by a run that never began, between the two lines above")
    except OSError:
        lock.close()
        raise FolderInUse(f"{path} is in use by another run; wait for it or choose another --out") from None
    return lock
