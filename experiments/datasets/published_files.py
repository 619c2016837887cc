"""Files of a published data set, each against the md5 that was published with it.

Takes paths and digests; gives contents or what was found. It must never give the content of another file.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from experiments.datasets.catalogue_entry import FileStatus
from experiments.datasets.errors import DatasetCorrupt
from secagg.errors import SottoError

__all__ = ["read_published", "status_of"]


def read_published(path: Path, md5: str, name: str) -> bytes | None:
    """The content of a file of data set `name`; None if it is not there.

    Raises:
        DatasetCorrupt: if it is another file than was published.
        SottoError: if it cannot be read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SottoError(f"data set {name}: {path} cannot be read ({error.strerror}); check SOTTO_DATA") from None
    found = _md5(content)
    if found != md5:
        raise DatasetCorrupt(
            f"data set {name}: {path} is not the published file (expected md5 {md5}, found {found}, "
            f"{len(content)} bytes); replace or remove it"
        )
    return content


def status_of(path: Path, md5: str) -> FileStatus:
    """What is there in place of a published file; nothing if it cannot be read."""
    try:
        return FileStatus(path, md5, _md5(path.read_bytes()))
    except OSError:
        return FileStatus(path, md5, None)


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
