"""A folder from which a party reads sealed parts itself, so that large uploads need not pass through the coordinator.

Clients' uploads arrive there by whatever carries files: an object store's mount, a web server's upload folder, a shared
disk. The coordinator then names places instead of relaying bytes. Parts in a spool are as sealed as on the wire: what
was changed is refused, and whoever can read the folder learns sizes. Nothing outside the folder is ever opened.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from secagg.envelopes import SealedMessage
from secagg.errors import SottoError

__all__ = ["Spool", "SpoolError", "SpoolWriter", "SpooledParts"]

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


class SpoolError(SottoError):
    """A place in the spool that is not there, or a spool that is not there."""


@dataclass(frozen=True)
class SpooledParts:
    """Consecutive parts in one file of one party's spool.

    Raises `SpoolError` for a name that is more than a file's, or a place that no file has.

    Attributes:
        name: of the file, without a folder.
        offset: where the first part begins, in bytes.
        lengths: of the parts, in bytes.
    """

    name: str
    offset: int
    lengths: tuple[int, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise SpoolError(f"{str(self.name)[:40]!r} is no file name of a spool; allowed: letters, digits, _ . -")
        if any(type(number) is not int or not 0 <= number < 2**62 for number in (self.offset, *self.lengths)):
            raise SpoolError(f"a place in {self.name} that no file has")

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return sum(self.lengths)


class Spool:
    """One party's view of its folder; keeps the file that it read last open, and one buffer.

    Args:
        folder: where the files are.

    Raises:
        SpoolError: if it is no folder.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise SpoolError(f"the spool {folder} is no folder")
        self._folder, self._room = folder, bytearray()
        self._name, self._file = "", -1

    def read(self, parts: SpooledParts, longest: int) -> memoryview:
        """The parts' bytes, joined; valid until the next call.

        Raises:
            SpoolError: if they are more than `longest` bytes, or not all there.
        """
        if parts.size > longest:
            raise SpoolError(f"{parts.size} bytes of {parts.name} at once; allowed: {longest}")
        try:
            if parts.name != self._name:
                self.close()
                self._file = os.open(self._folder / parts.name, _FLAGS)
                self._name = parts.name
            found = os.fstat(self._file)
            if not stat.S_ISREG(found.st_mode):
                raise SpoolError(f"{parts.name} in the spool is no regular file")
            if found.st_size < parts.offset + parts.size:  # before memory is set aside for what is not there
                raise SpoolError(f"{parts.name} in the spool ends before {parts.offset + parts.size} bytes")
            if len(self._room) < parts.size:
                self._room = bytearray(parts.size)
            view, done = memoryview(self._room)[: parts.size], 0
            while done < parts.size:
                got = os.preadv(self._file, [view[done:]], parts.offset + done)
                if not got:
                    raise SpoolError(f"{parts.name} in the spool ends before {parts.offset + parts.size} bytes")
                done += got
        except OSError as error:
            raise SpoolError(f"{parts.name} in the spool cannot be read: {error.strerror or error}") from None
        return view

    def close(self) -> None:
        """Let go of the file; legal more than once."""
        if self._file >= 0:
            os.close(self._file)
        self._name, self._file = "", -1


class SpoolWriter:
    """Puts sealed messages into the parties' spools, one file each, and says where.

    Args:
        folders: each party's spool, by rank; may be one folder.
        name: of the files, which get the party's rank as an ending; they must not exist.

    Raises:
        SpoolError: if a file exists or cannot be written.
    """

    def __init__(self, folders: Sequence[Path], name: str) -> None:
        self._names = [SpooledParts(f"{name}.{rank}", 0, ()).name for rank in range(len(folders))]
        self._offsets = [0] * len(folders)
        self._files: list[Any] = []
        try:
            for folder, own in zip(folders, self._names, strict=True):
                self._files.append((folder / own).open("xb"))
        except OSError as error:
            self.close()
            raise SpoolError(f"the spool file {error.filename} cannot be made: {error.strerror}") from None

    def write(self, messages: Sequence[SealedMessage]) -> list[SpooledParts]:
        """Append messages; returns each party's place, for `SmpcAggregator.submit_spooled`."""
        places = []
        for rank, file in enumerate(self._files):
            lengths = tuple(file.write(message.parts[rank]) for message in messages)
            file.flush()
            places.append(SpooledParts(self._names[rank], self._offsets[rank], lengths))
            self._offsets[rank] += sum(lengths)
        return places

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
