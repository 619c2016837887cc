"""The ring Z_2^64, held as int64 in two's complement.

All sums of messages are taken here, so that adding and removing masks is exact and wrapping is harmless. It must
never be used for numbers whose overflow would be an error.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["add_wrap"]


def add_wrap(into: NDArray[np.int64], vector: NDArray[np.int64]) -> None:
    """`into += vector` mod 2^64, in place.

    Raises:
        ValueError: if the shapes differ (no broadcasting: a length mismatch is a mistake).
    """
    if into.shape != vector.shape:
        raise ValueError(f"vectors of shapes {into.shape} and {vector.shape} cannot be added in the ring")
    np.add(into.view(np.uint64), vector.view(np.uint64), out=into.view(np.uint64))
