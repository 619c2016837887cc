"""What the round loop says of a round when it is over, for displays: released numbers, never what a simulation saw."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RoundReport"]


@dataclass(frozen=True)
class RoundReport:
    """What the progress display shows after a round.

    Attributes:
        round, rounds: this one, and how many there are.
        survivors: clients in the opened sum; 0 if none was opened.
        refused: clients that sent something and are not in the sum, such as those that failed the norm check.
        scores: on public test data; empty if the round was not evaluated.
        epsilons: spent so far by view; None where there is no finite one.
        message: why nothing was opened, or "".
    """

    round: int
    rounds: int
    survivors: int
    refused: int
    scores: dict[str, float]
    epsilons: dict[str, float | None]
    message: str
