"""A continuous Gaussian rounded to whole grid steps: the float mechanism's noise as integers that can be shared.

It draws from a `Keystream` and is the idealised mechanism's: it must never be accounted as a discrete one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.chacha import NONCE_BYTES
from kernels.gaussian import gaussian_noise
from secagg.randomness import KEY_BYTES, Keystream

__all__ = ["rounded_gaussian"]


def rounded_gaussian(std: float, size: int, source: Keystream) -> NDArray[np.int64]:
    """`size` draws of a continuous N(0, std^2), rounded to whole grid steps (idealised mechanism only)."""
    # A fresh key of the stream's own for every call, so that the nonce may be constant.
    normal = gaussian_noise(size, source.take(KEY_BYTES), bytes(NONCE_BYTES))
    return np.rint(normal.numpy() * std).astype(np.int64)
