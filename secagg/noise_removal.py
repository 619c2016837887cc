"""XNoise's second half: the noise that was added for drop-outs that did not happen, as one vector to subtract.

Takes the seeds of the surviving clients' surplus components, gives the sum of what they drew. Which components are
surplus follows from the number of clients that dropped out and from nothing else. It must never be given the seed of a
component that stays.

Ours and not independently reviewed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from secagg.messages import RoundSpec
from secagg.ring import add_wrap
from secagg.xnoise import surplus

__all__ = ["surplus_components", "surplus_noise"]


def surplus_components(spec: RoundSpec, survivors: int) -> range:
    """Indices, from 0, of the seeds whose noise is to be removed from a sum of `survivors` messages."""
    dropped = len(spec.clients) - survivors
    return range(dropped, max(dropped, spec.noise.removable))


def surplus_noise(
    spec: RoundSpec, survivors: int, seeds: Mapping[int, Sequence[bytes]], on_client: Callable[[], None]
) -> NDArray[np.int64]:
    """The surplus noise of the clients in `seeds`, `[length]`.

    Args:
        spec: the round.
        survivors: how many messages are in the sum.
        seeds: those clients' seeds of exactly the `surplus_components`, in their order.
        on_client: called before each client; regenerating takes as long as drawing did.
    """
    dropped = len(spec.clients) - survivors
    total: NDArray[np.int64] = np.zeros(spec.length, dtype=np.int64)
    for client in sorted(seeds):
        on_client()
        add_wrap(total, surplus(spec.noise.mechanism, spec.noise.components, dropped, seeds[client], spec.length))
    return total
