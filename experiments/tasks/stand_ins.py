"""An embedded data set in the place of one that is not here, where the configuration allows it, and the note about it.

What is there but damaged is never replaced, and nothing is replaced without a word.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from experiments.datasets import DatasetMissing
from fl_core.config import DataConfig

__all__ = ["load_or_stand_in"]

Data = TypeVar("Data")


def load_or_stand_in(
    load: Callable[[str], Data], name: str, embedded: str, data: DataConfig, looked: str
) -> tuple[Data, list[str]]:
    """The data set, or the embedded one with a note that says so.

    Args:
        load: gives a data set by its name.
        name: of the wanted one.
        embedded: of the one that is always there.
        data: its `fallback` is `embedded` or `refuse`.
        looked: where was looked in vain, for the note.

    Raises:
        DatasetMissing: if it is not there and a stand-in is refused.
        SottoError: if files are there but damaged.
    """
    try:
        return load(name), []
    except DatasetMissing:
        if data.fallback == "refuse" or name == embedded:
            raise
        return load(embedded), [f"{name} is not here ({looked}): the embedded set {embedded} was used instead"]
