"""Where things that can be made again are kept between runs: pre-trained bases, tokenised posts."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_root"]


def cache_root() -> Path:
    """`$SOTTO_CACHE`, or `~/.cache/sotto`."""
    named = os.environ.get("SOTTO_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "sotto"
