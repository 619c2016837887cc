"""The fixed-point grid: how a real vector and integers of the ring correspond.

Encoding happens per protected contribution, before any sum, in `kernels.clip_sum`; here are the grid's bounds and
the decoding of an opened sum. CrypTen's own encoder and decoder must never be used: its decoder is wrong for some
negative numbers and its encoder truncates numpy arrays before scaling.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from secagg.errors import EncodingError

__all__ = ["FixedPoint"]

_TAIL = 12.0  # standard deviations of noise that must fit beside the largest sum (probability 1e-33 a coordinate)


@dataclass(frozen=True)
class FixedPoint:
    """A grid of `scale` steps per unit.

    Attributes:
        scale: a power of two from 2^4 to 2^40.
    """

    scale: int

    def __post_init__(self) -> None:
        if not (2**4 <= self.scale <= 2**40 and self.scale & (self.scale - 1) == 0):
            raise EncodingError(f"the grid has {self.scale} steps per unit; allowed: powers of two from 2^4 to 2^40")

    def clip_steps(self, clip_norm: float) -> int:
        """`floor(C * s)`: the integer L2 bound of one contribution.

        Raises:
            EncodingError: if it would be below one step or above 2^40.
        """
        steps = math.floor(clip_norm * self.scale) if math.isfinite(clip_norm) else 0
        if not 1 <= steps <= 2**40:
            raise EncodingError(
                f"a clip norm of {clip_norm} is {clip_norm * self.scale:g} grid steps; allowed: 1 to 2^40"
            )
        return steps

    def decode(self, total: NDArray[np.int64]) -> NDArray[np.float64]:
        """The real vector of an opened sum: `total / scale`, exact for |total| up to 2^53."""
        return total.astype(np.float64) / self.scale

    def ring_bits(self, contributions: int, clip_norm: float, noise_std: float) -> int:
        """The narrowest ring 2^b in which a sum does not wrap around, b from 2 to 64.

        Args:
            contributions: most protected contributions in one sum.
            clip_norm: L2 bound of one contribution.
            noise_std: standard deviation of the sum's noise, in grid steps.

        Raises:
            EncodingError: unless `contributions * C * s + 12 * noise_std < 2^63`.
        """
        largest = contributions * clip_norm * self.scale + _TAIL * noise_std
        if not largest < 2**63:
            raise EncodingError(
                f"a sum of {contributions} contributions could reach {largest:.3g} grid steps, beyond 2^63: "
                "lower privacy.scale_bits"
            )
        # frexp's exponent is the smallest e with largest < 2^e; one more bit is the sign.
        return max(2, math.frexp(largest)[1] + 1)
