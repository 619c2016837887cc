"""Files and folders of a deployment that do not exist yet: private ones for their owner alone, and all on the disk.

Nothing here ever writes over a file: it may be all that is left of a key or a deployment.
"""

from __future__ import annotations

import os
from pathlib import Path

from secagg.deployment.checks import DeploymentError

__all__ = ["make_folder", "write_new"]


def make_folder(path: Path, private: bool) -> None:
    """Make a folder: a private one must be new, another may be there.

    Raises:
        DeploymentError: if it cannot be made, or is private and exists.
    """
    try:
        path.mkdir(0o700 if private else 0o755, parents=True, exist_ok=not private)
    except FileExistsError:
        raise DeploymentError(f"{path} exists and is not overwritten; name another folder or move it away") from None
    except OSError as error:
        raise DeploymentError(f"{path} cannot be made: {error.strerror}") from None


def write_new(path: Path, content: bytes, mode: int) -> None:
    """Write a file that does not exist yet, with these permissions at most, and see it onto the disk.

    Raises:
        DeploymentError: if it exists or cannot be written; nothing of it is left behind then.
    """
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise DeploymentError(f"{path} exists and is not overwritten; name another or move it away") from None
    except OSError as error:
        raise DeploymentError(f"{path} cannot be written: {error.strerror}") from None
    try:
        with open(file, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)
        raise DeploymentError(f"{path} cannot be written: {error.strerror}") from None
