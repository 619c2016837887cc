"""The grid of `bench.rounds`: which framework does what work for how many clients, with which privacy.

Data only. A cell's name says all of it and is what `--cells` chooses by.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

__all__ = ["FRAMEWORKS", "RANKS", "Cell", "grid", "rounds_of", "shrunk"]

FRAMEWORKS = ("pfl", "pfl-processes", "flower", "sotto", "sotto-workers")
RANKS = {"mnist": 16, "next_word": 8}
WHOLE = 100  # rounds of a whole run
SIZES = (("mnist", 100), ("mnist", 1000), ("mnist", 10_000), ("next_word", 100), ("next_word", 1000))
# Where a round takes long: only what `_kept` says.
_LARGE = (("mnist", 10_000), ("next_word", 1000))
# Measured rounds after the first one, which is never counted.
_ROUNDS = {("mnist", 100): 10, ("mnist", 1000): 3, ("next_word", 100): 2}


@dataclass(frozen=True)
class Cell:
    """One row.

    Attributes:
        work: `mnist` or `next_word`.
        clients: all of whom take part in every round.
        framework: one of `FRAMEWORKS`; `pfl-processes` and `sotto-workers` have a process for each core.
        privacy: `none`, `central` or `distributed`.
        parties: of secure aggregation; 0: the server receives every client's message.
        inputs: `raw`, or `stored` (see `bench.rounds.work.Work`).
        rank: of the adapter.
        whole: rounds of a whole run, which is what is measured; 0: a few rounds.
    """

    work: str
    clients: int
    framework: str
    privacy: str = "none"
    parties: int = 0
    inputs: str = "raw"
    rank: int = 0
    whole: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "rank", self.rank or RANKS[self.work])

    @property
    def name(self) -> str:
        """Everything of it in words."""
        parts = [self.work, str(self.clients), self.framework, self.privacy]
        parts += [f"{self.parties}parties"] if self.parties else []
        parts += [self.inputs] if self.inputs != "raw" else []
        parts += [f"rank{self.rank}"] if self.rank != RANKS[self.work] else []
        parts += [f"{self.whole}rounds"] if self.whole else []
        return "-".join(parts)

    @property
    def guarantee(self) -> str:
        """What holds for one client, and against whom."""
        if self.privacy == "none":
            return "none"
        if self.privacy == "central":
            return "if the server is trusted"
        if not self.parties:
            return "whoever sees sums only; the server sees each client's weakly noised message"
        return f"server and all but one of {self.parties} parties"

    @property
    def fields(self) -> dict[str, Any]:
        """As stored in a row."""
        return {"name": self.name, **vars(self)}


def grid() -> list[Cell]:
    """Every cell: frameworks beside each other, with stored inputs too, then how Sotto's cost grows."""
    cells = []
    for work, clients in SIZES:
        own = [Cell(work, clients, framework, privacy) for framework in FRAMEWORKS for privacy in ("none", "central")]
        own += _distributed(work, clients, "raw")
        cells += [cell for cell in own if (work, clients) not in _LARGE or _kept(cell)]
    for work, clients in (("mnist", 1000), ("next_word", 100)):
        cells += [Cell(work, clients, framework, inputs="stored") for framework in FRAMEWORKS]
    for work, clients in _LARGE:
        cells += [
            Cell(work, clients, framework, privacy, inputs="stored")
            for framework in ("pfl-processes", "sotto-workers")
            for privacy in ("none", "central")
        ]
        cells += _distributed(work, clients, "stored")
    for rank in (4, 16, 64):
        cells += [Cell("next_word", 100, "sotto", *how, rank=rank) for how in (("none", 0), ("distributed", 3))]
    cells += [Cell("mnist", 1000, "sotto-workers", "distributed", parties) for parties in (2, 5)]
    cells += [
        Cell("mnist", 10_000, "sotto-workers", "distributed", parties, "stored", whole=WHOLE) for parties in (0, 3)
    ]
    return cells


def _distributed(work: str, clients: int, inputs: str) -> list[Cell]:
    """Every client's own noise, in the clear and under secure aggregation."""
    return [Cell(work, clients, "sotto-workers", "distributed", parties, inputs) for parties in (0, 3)]


def _kept(cell: Cell) -> bool:
    """Whether a cell of the largest sizes is measured; what the smaller sizes show well enough is not."""
    if cell.framework == "flower":
        return cell.privacy == "central"
    return cell.framework in ("pfl-processes", "sotto-workers")


def rounds_of(cell: Cell) -> int:
    """Measured rounds of a cell; one where a round takes long."""
    return cell.whole or _ROUNDS.get((cell.work, cell.clients), 1)


def shrunk(cells: list[Cell]) -> list[Cell]:
    """The same cells with few clients, to see whether everything runs."""
    small = {("mnist", 100): 20, ("mnist", 1000): 100, ("mnist", 10_000): 200, ("next_word", 100): 8}
    return [replace(cell, clients=small.get((cell.work, cell.clients), 20), whole=min(cell.whole, 3)) for cell in cells]
