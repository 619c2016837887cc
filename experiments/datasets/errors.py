"""Two things that are wrong with a data set, never taken for each other: it is not here, or not what it should be."""

from __future__ import annotations

from secagg.errors import SottoError

__all__ = ["DatasetCorrupt", "DatasetMissing"]


class DatasetMissing(SottoError):
    """A data set that is neither on disk nor reachable; the sentence says which file belongs where."""


class DatasetCorrupt(SottoError):
    """A data file that is there but is not what was published; it is refused, never replaced."""
