"""The folder in which data sets, public text and tokenizers are looked for."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["data_root"]


def data_root() -> tuple[Path, str]:
    """The folder, and its name in reports: `SOTTO_DATA` if set, else a user cache."""
    named = os.environ.get("SOTTO_DATA")
    if named:
        return Path(named).expanduser(), "SOTTO_DATA"
    return Path.home() / ".cache" / "sotto" / "data", "cache"
