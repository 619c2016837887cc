"""A keystream whose next words are given."""

from __future__ import annotations

import numpy as np


class Words:
    """Hands out the given words and no more."""

    def __init__(self, *words: int) -> None:
        self.given = list(words)

    def words(self, count: int) -> np.ndarray:
        head, self.given = self.given[:count], self.given[count:]
        assert len(head) == count, "no further word was expected to be drawn"
        return np.array(head, dtype=np.uint64)
