"""Files of caches and imports are whole or absent: written beside their place, flushed to disk, then renamed.

Takes bytes, or a file that somebody writes; it must never leave a half-written file behind an error or a Ctrl-C. Errors
stay those of the system: a cache that cannot be written costs a warning, where a run folder's (`fl_core.run_folder`)
end the run.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

__all__ = ["put_in_place", "write_whole"]


def write_whole(path: Path, content: bytes) -> None:
    """Write a file in one step, making its folder if need be.

    Raises:
        OSError: if it cannot be written; what was there before stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    with os.fdopen(handle, "wb") as stream, put_in_place(stream, Path(temporary), path):
        stream.write(content)


@contextlib.contextmanager
def put_in_place(stream: IO[bytes], temporary: Path, path: Path) -> Iterator[None]:
    """`temporary`, which the block writes through `stream`, becomes `path` at its end; after an error it is removed."""
    try:
        yield
        stream.flush()
        os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
