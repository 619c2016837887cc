"""Lines that a watched process writes: those of a growing file, each once, and sentences of one kind."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["GrowingFile", "without_numbers"]


class GrowingFile:
    """A file that grows by lines."""

    def __init__(self, path: Path) -> None:
        self._path, self._offset = path, 0

    def new_lines(self) -> list[str]:
        """The whole lines since the last call; none while there is no file."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._offset += len(whole)
        return whole.decode().splitlines()


def without_numbers(sentence: str) -> str:
    """A sentence with N for its numbers, so that equal kinds are counted together."""
    return re.sub(r"\d+(\.\d+)?", "N", sentence)[:200]
