"""The ring Z_2^64, held as int64 in two's complement.

All sums of messages are taken here, so that adding and removing masks is exact and wrapping is harmless. It must
never be used for numbers whose overflow would be an error.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["add_wrap", "subtract_wrap"]


def add_wrap(into: NDArray[np.int64], vector: NDArray[np.int64]) -> None:
    """`into += vector` mod 2^64, in place.

    Raises:
        ValueError: if the shapes differ (no broadcasting: a length mismatch is a mistake).
    """
    _same_shape(into, vector)
    np.add(into.view(np.uint64), vector.view(np.uint64), out=into.view(np.uint64))


def subtract_wrap(into: NDArray[np.int64], vector: NDArray[np.int64]) -> None:
    """`into -= vector` mod 2^64, in place.

    Raises:
        ValueError: if the shapes differ.
    """
    _same_shape(into, vector)
    np.subtract(into.view(np.uint64), vector.view(np.uint64), out=into.view(np.uint64))


def _same_shape(into: NDArray[np.int64], vector: NDArray[np.int64]) -> None:
    if into.shape != vector.shape:
        raise ValueError(f"vectors of shapes {into.shape} and {vector.shape} cannot be added in the ring")
