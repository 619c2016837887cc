"""What the round loop asks of whoever brings the clients' messages: a round's request, and the protocol of a source.

A source opens one sum a request. It must never open one without calling `before_opening`, which writes the ledger's
entry.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from secagg.aggregator import Aggregator, BeforeOpening
from secagg.messages import RoundSpec, RoundSum
from secagg.randomness import Keystream

__all__ = ["MessageSource", "RoundRequest"]


@dataclass(frozen=True)
class RoundRequest:
    """What the clients of one attempt at a round are asked for.

    Attributes:
        spec: the round, as the aggregator opens it.
        present: clients that are there.
        theta: broadcast adapter `[p]`; the task's model holds it.
        clip_norm: adaptive clipping's norm of this round; None with fixed clipping.
        stream: simulated randomness of this attempt; the client `i` of a simulation draws from its child.
    """

    spec: RoundSpec
    present: list[int]
    theta: Tensor
    clip_norm: float | None
    stream: Keystream


class MessageSource(Protocol):
    """Where the messages of a round come from."""

    refused: int  # clients that sent something in the last round that is not in its sum, as far as the source knows

    def open_sum(self, request: RoundRequest, aggregator: Aggregator, before_opening: BeforeOpening) -> RoundSum:
        """Open the round, hand in every client's message, close it.

        Raises:
            AggregationError, OpeningRefused: as `Aggregator.open_round` and `Aggregator.close`; the round's shares
                are discarded.
        """

    def row(self) -> dict[str, float]:
        """What a simulation saw of the last round, for the run folder alone; a deployment sees nothing."""
