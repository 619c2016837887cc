"""What a party holds of the one round that is open: it is dropped with the round and never written anywhere."""

from __future__ import annotations

from dataclasses import dataclass, field

from secagg.envelopes import OpenedPart
from secagg.messages import RoundSpec
from secagg.party.dealer_provider import DealerClient
from secagg.party.intake import Intake
from secagg.party.mesh import Mesh
from secagg.party.share_sum import ShareSum

__all__ = ["OpenRound"]


@dataclass(repr=False)
class OpenRound:
    """One round at one party; without a repr, for its shares must not reach a log.

    Attributes:
        spec: the round.
        mesh: its parties.
        intake: reads its parts.
        sum: this party's share so far.
        dealer: for norm checks.
        held: parts of batches that are not settled, by batch and name.
        accepted: clients that are in the sum.
        noise_shares: of each of them, this party's XOR shares of its noise seeds.
        batches, settled: how many came, and how many of them all parties have added.
        reported: when this party last said that it is working.
    """

    spec: RoundSpec
    mesh: Mesh
    intake: Intake
    sum: ShareSum
    dealer: DealerClient | None = None
    held: dict[int, dict[bytes, OpenedPart]] = field(default_factory=dict)
    accepted: set[int] = field(default_factory=set)
    noise_shares: dict[int, tuple[bytes, ...]] = field(default_factory=dict)
    batches: int = 0
    settled: int = 0
    reported: float = 0.0

    def close(self) -> None:
        """Hang up on the other parties and the dealer."""
        self.mesh.close()
        if self.dealer is not None:
            self.dealer.close()
