"""One party's share of the round's sum, added up message by message: memory grows with the vector alone.

Party 0 adds packed bodies as they are; the others expand seeds and take the masks away from zero, in the narrowest
words that hold an element. It must never be read before the set of clients is agreed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from secagg.envelopes import OpenedPart
from secagg.messages import RoundSpec
from secagg.packing import RingSum, add_packed, packed_sum, ring_sum_vector, unpack
from secagg.sharing import MaskSum, expand, mask_sum, subtract_expanded

__all__ = ["ShareSum"]


class ShareSum:
    """The sum of the shares that one party holds.

    Args:
        rank: 0 holds bodies, the others seeds.
        spec: the round.
    """

    def __init__(self, rank: int, spec: RoundSpec) -> None:
        self._rank, self._length, self._bits = rank, spec.length, spec.bits
        self._bodies: RingSum = packed_sum(0 if rank else spec.length, spec.bits)
        self._masks: MaskSum = mask_sum(spec.length if rank else 0, spec.bits)

    def add(self, part: OpenedPart) -> None:
        """Add one message's share."""
        if self._rank:
            subtract_expanded(self._masks, part.key, self._bits)
        else:
            add_packed(self._bodies, part.body, self._bits)

    def vector_of(self, part: OpenedPart) -> NDArray[np.int64]:
        """One message's share by itself, int64 `[length]`."""
        if self._rank:
            return expand(part.key, self._length, self._bits)
        return unpack(part.body, self._length, self._bits)

    def share(self) -> NDArray[np.int64]:
        """The sum, int64 `[length]`, right modulo 2^bits."""
        return -self._masks.astype(np.int64) if self._rank else ring_sum_vector(self._bodies, self._bits)
