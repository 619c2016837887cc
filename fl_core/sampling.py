"""Secret self-sampling: every client flips its own coins, and nobody else sees them.

Takes a client's own keystream; gives the records (unit example) or the clients (unit client) that take part.
The sampled must never be visible outside: every client sends a message every round, sampled or not.
Amplification by sampling is only accounted for this scheme; a server-picked cohort would be accounted at q = 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from secagg.randomness import Keystream

__all__ = ["poisson_coin", "poisson_sample"]


def poisson_sample(records: NDArray[np.int64], sample_rate: float, source: Keystream) -> NDArray[np.int64]:
    """The records that their owner's independent coins pick, each with probability `sample_rate`.

    Args:
        records: `[n]` indices of one client's records.
        sample_rate: q in (0, 1].
        source: the client's own keystream for this round.
    """
    if sample_rate >= 1:
        return records
    return records[source.uniform(len(records)) < sample_rate]


def poisson_coin(sample_rate: float, source: Keystream) -> bool:
    """Whether one client takes part, with probability `sample_rate`."""
    return sample_rate >= 1 or bool(source.uniform(1)[0] < sample_rate)
