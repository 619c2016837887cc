"""What the parties do together, on CrypTen's communicator: agree on the clients, and open one sum.

Shares come from us (`MPCTensor.from_shares`), because CrypTen's own share generator is not cryptographic, with
precision 0, so that nothing is scaled; the revealed tensor is the raw ring value, because CrypTen's decoder is wrong
for some negatives. No product is ever taken, so no Beaver triple and no trusted provider is involved.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from secagg.party.crypten_import import import_crypten

__all__ = ["CryptenGroup"]


class CryptenGroup:
    """This party's membership in the group.

    Args:
        rank: 0 to parties - 1.
        parties: size of the group.
        rendezvous: where the parties find each other, for example `file:///private/folder/rendezvous`.
    """

    def __init__(self, rank: int, parties: int, rendezvous: str) -> None:
        os.environ.update(
            {
                "RANK": str(rank),
                "WORLD_SIZE": str(parties),
                "RENDEZVOUS": rendezvous,
                "DISTRIBUTED_BACKEND": "gloo",
            }
        )
        self._crypten: Any = import_crypten()
        self._crypten.init()

    def agree(self, held: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Clients that every party holds.

        Args:
            held: `[n]`, whether this party holds a share of each of the round's clients.
        """
        votes = torch.from_numpy(held.astype(np.int64))
        counts = self._crypten.communicator.get().all_reduce(votes)
        size = self._crypten.communicator.get().get_world_size()
        return np.asarray(counts.numpy() == size)

    def reveal(self, share: NDArray[np.int64]) -> NDArray[np.int64]:
        """Open the sum of all parties' shares: raw ring values `[d]`."""
        shared = self._crypten.mpc.MPCTensor.from_shares(torch.from_numpy(share), precision=0)
        opened: NDArray[np.int64] = shared.reveal().numpy()
        return opened


def digest(total: NDArray[np.int64]) -> str:
    """SHA-256 of an opened sum, by which the caller checks that all parties opened the same."""
    return hashlib.sha256(total.tobytes()).hexdigest()
