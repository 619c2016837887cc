"""One file of float32 rows with a digest for each: rows are read by number, and none is believed unchecked.

Layout: a page with a JSON header, the rows, a table of SHA-256 digests of the rows. Opening reads header and table;
a row's pages are read when it is first asked for, and it is then compared with its digest. It must never give a row
whose bytes are not those that were written.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import stat
from collections.abc import Iterable
from math import prod
from pathlib import Path
from typing import IO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Damaged", "RowFile", "file_size", "write_rows"]

_HEADER = 4096  # bytes: rows begin on a page
_DIGEST = 32
_KIND = "sotto rows 1"  # raise the number when the layout changes
_FLOAT = np.dtype("<f4")


class Damaged(Exception):
    """A file that is not what was written under its name.

    Args:
        path: the file.
        why: in words.
    """

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(why)
        self.path = path


def file_size(shape: tuple[int, ...]) -> int:
    """Bytes of a file of rows `shape [n, ...]`."""
    return _HEADER + prod(shape) * _FLOAT.itemsize + shape[0] * _DIGEST


def write_rows(stream: IO[bytes], key: str, shape: tuple[int, ...], parts: Iterable[Tensor]) -> None:
    """Fill an unbuffered file from its beginning with all rows, in parts; the header comes last.

    Raises:
        OSError: if it cannot be written.
    """
    table = bytearray()
    stream.seek(_HEADER)
    for part in parts:
        rows = part.numpy().astype(_FLOAT, copy=False).reshape(len(part), -1)
        table += b"".join(hashlib.sha256(row.data).digest() for row in rows)
        _write(stream, rows.data.cast("B"))
    assert len(table) == shape[0] * _DIGEST
    _write(stream, memoryview(table))
    stream.seek(0)
    _write(stream, memoryview(_header(key, shape, hashlib.sha256(table).hexdigest())))


class RowFile:
    """An opened file; its lock, held until `close`, keeps it from being removed to make room.

    Args:
        path: the file.
        key: names its content.
        shape: of all rows, `[n, ...]`.

    Raises:
        FileNotFoundError: if it is not there, or no longer.
        Damaged: if it is another file than was written under this name, or shorter.
        OSError: if it cannot be read.
    """

    def __init__(self, path: Path, key: str, shape: tuple[int, ...]) -> None:
        self.path, self._shape = path, shape
        self._stream = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
        try:
            fcntl.flock(self._stream, fcntl.LOCK_SH)
            found = os.fstat(self._stream.fileno())
            if found.st_nlink == 0:  # removed while we waited for the lock
                raise FileNotFoundError(path)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
                raise Damaged(self.path, "it is not a file of this user")
            self._table = self._checked_table(key)
            self._checked = np.zeros(shape[0], bool)
            flat = (shape[0], prod(shape[1:]))
            self._rows = np.asarray(np.memmap(self._stream, _FLOAT, "r", _HEADER, flat))
        except BaseException:
            self._stream.close()
            raise

    def take(self, numbers: NDArray[np.int64]) -> Tensor:
        """A copy of some rows, `[len(numbers), ...]`.

        Raises:
            Damaged: if one of them is not what was written.
        """
        # Reading beyond the end of a map that was cut short would kill the process.
        if os.fstat(self._stream.fileno()).st_size != file_size(self._shape):
            raise Damaged(self.path, "its size has changed")
        new = np.flatnonzero(~self._checked[numbers])
        self._announce(numbers[new])
        rows = self._rows[numbers]
        for place in new:
            number = numbers[place]
            if hashlib.sha256(rows[place].data).digest() != self._table[number].tobytes():
                raise Damaged(self.path, f"row {number} is not what was written")
            self._checked[number] = True
        return torch.from_numpy(rows.astype(np.float32, copy=False)).reshape(len(numbers), *self._shape[1:])

    def close(self) -> None:
        """Gives up the lock and the map."""
        del self._rows
        self._stream.close()

    def _announce(self, numbers: NDArray[np.int64]) -> None:
        """Let the disk fetch all of these rows at once; page by page took ten times as long."""
        if not hasattr(os, "posix_fadvise"):
            return
        size = self._rows[:1].nbytes
        for number in numbers.tolist():
            os.posix_fadvise(self._stream.fileno(), _HEADER + number * size, size, os.POSIX_FADV_WILLNEED)

    def _checked_table(self, key: str) -> NDArray[np.uint8]:
        size, wanted = os.fstat(self._stream.fileno()).st_size, file_size(self._shape)
        if size != wanted:
            raise Damaged(self.path, f"it has {size:,} bytes instead of {wanted:,}")
        header = self._stream.read(_HEADER)
        self._stream.seek(wanted - self._shape[0] * _DIGEST)
        table = self._stream.read(self._shape[0] * _DIGEST)
        if header != _header(key, self._shape, hashlib.sha256(table).hexdigest()):
            raise Damaged(self.path, "its header is not the one that was written")
        return np.frombuffer(table, np.uint8).reshape(-1, _DIGEST)


def _header(key: str, shape: tuple[int, ...], table: str) -> bytes:
    content = {"kind": _KIND, "key": key, "dtype": _FLOAT.str, "shape": list(shape), "table": table}
    return json.dumps(content, sort_keys=True).encode().ljust(_HEADER)


def _write(stream: IO[bytes], content: memoryview) -> None:
    """All of it: an unbuffered file may take less at a time."""
    while len(content):
        content = content[stream.write(content) :]
