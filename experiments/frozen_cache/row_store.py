"""A folder of row files that all processes of a user share, bounded in bytes.

Takes names and rows; gives opened files. Of two processes that want the same rows one computes them. The file that
was used longest ago is removed first, one that is open in some process never. It must never show a file that is not
whole, nor let other users read one: the rows are functions of private records.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from experiments.frozen_cache.row_file import RowFile, file_size
from experiments.whole_files import put_in_place

__all__ = ["RowStore"]

_WHOLE, _PARTIAL = ".rows", ".part"
_GONE_QUIET_S = 60.0  # a writer that added nothing for so long is not waited for


class RowStore:
    """The folder.

    Args:
        folder: where; made when something is written.
        most: bytes of all its files together.
    """

    def __init__(self, folder: Path, most: int) -> None:
        self.folder, self._most = folder, most

    def open(self, key: str, shape: tuple[int, ...]) -> RowFile:
        """The rows of a name.

        Raises:
            FileNotFoundError: if they are not there.
            Damaged: if the file is not what was written.
            OSError: if it cannot be read.
        """
        rows = RowFile(self._path(key, _WHOLE), key, shape)
        with contextlib.suppress(OSError):  # of a folder that is read only
            os.utime(rows.path)  # when it was last used: access times are often not kept
        return rows

    @contextlib.contextmanager
    def writing(self, key: str, shape: tuple[int, ...]) -> Iterator[IO[bytes] | None]:
        """A file for the rows of a name, or None if they are there or another process writes them just now.

        At the block's end the file is on disk under its name; after an error nothing of it is left.

        Raises:
            OSError: if there is no room for it, or it cannot be written.
        """
        path, partial = self._path(key, _WHOLE), self._path(key, _PARTIAL)
        with self._alone():
            stream = self._begun(path, partial, file_size(shape))
        if stream is None:
            yield None
            return
        with stream, put_in_place(stream, partial, path):
            yield stream
            with self._alone():
                fcntl.flock(stream, fcntl.LOCK_SH)  # so that the first to open it need not wait

    def is_progressing(self, key: str) -> bool:
        """False if the file that is being written under this name has not grown for a minute."""
        try:
            return time.time() - self._path(key, _PARTIAL).stat().st_mtime < _GONE_QUIET_S
        except FileNotFoundError:
            return True

    def remove(self, path: Path) -> None:
        """Take a file away, whoever has it open.

        Raises:
            OSError: if that cannot be done.
        """
        with self._alone():
            path.unlink(missing_ok=True)

    def _path(self, key: str, ending: str) -> Path:
        return self.folder / f"{key[:32]}{ending}"

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """The folder's lock, held for the moment in which names change."""
        self.folder.mkdir(0o700, parents=True, exist_ok=True)
        found = self.folder.stat()
        if found.st_uid != os.geteuid():
            raise PermissionError(errno.EACCES, "the folder belongs to another user")
        if found.st_mode & 0o077:
            self.folder.chmod(0o700)
        with os.fdopen(os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _begun(self, path: Path, partial: Path, size: int) -> IO[bytes] | None:
        """The locked, empty file of a new writer with its room set aside; None if somebody else is or was faster."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        stream = os.fdopen(os.open(partial, flags, 0o600), "r+b", buffering=0)
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.close()
            return None
        if os.path.lexists(path):
            partial.unlink()
            stream.close()
            return None
        try:
            os.fchmod(stream.fileno(), 0o600)
            stream.truncate(0)  # a killed writer may have left something
            self._make_room(size)
            if hasattr(os, "posix_fallocate"):  # a full disk is found before anything is computed
                os.posix_fallocate(stream.fileno(), 0, size)
        except BaseException:
            partial.unlink(missing_ok=True)
            stream.close()
            raise
        return stream

    def _make_room(self, need: int) -> None:
        """Remove what killed writers left, and the files used longest ago until `need` fits.

        Raises:
            OSError: if it does not fit beside the files that are in use.
        """
        files = [path for path in self.folder.iterdir() if path.suffix in (_WHOLE, _PARTIAL)]
        found = sorted(((path.lstat(), path) for path in files), key=lambda pair: pair[0].st_mtime_ns)
        held = sum(status.st_size for status, _ in found)
        for partial in (True, False):
            for status, path in found:
                if (path.suffix == _PARTIAL) == partial and (partial or held + need > self._most):
                    held -= status.st_size if _removed_unless_in_use(path) else 0
        if held + need > self._most:
            raise OSError(
                errno.EDQUOT, f"{need:,} bytes do not fit beside {held:,} that are in use (bound {self._most:,})"
            )


def _removed_unless_in_use(path: Path) -> bool:
    try:
        stream = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    except FileNotFoundError:
        return True
    except OSError:  # no file of ours
        return False
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        path.unlink()
        return True
