"""Where things that can be made again are kept between runs: pre-trained bases, tokenised posts.

What is made of private records must never be where another user can read it.
"""

from __future__ import annotations

import os
from pathlib import Path

from secagg.errors import SottoError

__all__ = ["cache_root", "private_folder"]


def cache_root() -> Path:
    """`$SOTTO_CACHE`, or `~/.cache/sotto`."""
    named = os.environ.get("SOTTO_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "sotto"


def private_folder(name: str) -> Path:
    """A folder of the cache that its owner alone can enter, whatever it was: for posts and what is made of them.

    Raises:
        SottoError: if it cannot be made, or belongs to somebody else.
    """
    folder = cache_root() / name
    try:
        folder.mkdir(0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError as error:
        raise SottoError(
            f"{folder} cannot be made a folder for its owner only: {error.strerror}; set SOTTO_CACHE to a folder of "
            "your own"
        ) from None
    return folder
