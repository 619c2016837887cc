"""What the frozen part of a model makes of records, computed once and kept between runs."""

from experiments.frozen_cache.kept import FrozenCache, KeptRows
from experiments.frozen_cache.work import FrozenWork

__all__ = ["FrozenCache", "FrozenWork", "KeptRows"]
