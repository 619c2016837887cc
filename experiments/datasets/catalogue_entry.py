"""What is known about one data set without loading it: the rows of `sotto data list` and `sotto data verify`.

Takes and gives plain data. It must never decide anything: sources fill it in, the command prints it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["CatalogueEntry", "FileStatus"]


@dataclass(frozen=True)
class FileStatus:
    """One file of a data set: where it belongs, its published md5, and the md5 found (None: not there)."""

    path: Path
    expected_md5: str
    found_md5: str | None

    @property
    def ok(self) -> bool:
        """True when the file is there and is the published one."""
        return self.found_md5 == self.expected_md5


@dataclass(frozen=True)
class CatalogueEntry:
    """One data set.

    Attributes:
        name: registry name.
        origin: where it would be loaded from now, in words.
        present: True when nothing has to be downloaded.
        files: its files with checksums; empty for an embedded set.
    """

    name: str
    origin: str
    present: bool
    files: tuple[FileStatus, ...] = ()

    @property
    def checksums_ok(self) -> bool | None:
        """True if every file that is here is the published one; None when there is no file to check."""
        here = [file for file in self.files if file.found_md5 is not None]
        return all(file.ok for file in here) if here else None
