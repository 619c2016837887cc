"""Noise integers that are not our own exact draws: a rounded continuous Gaussian, and OpenDP's vetted sampler.

The rounded Gaussian draws from a `Keystream` and is the idealised float mechanism: it must never be accounted as a
discrete one. OpenDP's has randomness of its own; ours (`secagg.discrete_gaussian`) is tested against it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.chacha import NONCE_BYTES
from kernels.gaussian import gaussian_noise
from secagg.randomness import KEY_BYTES, Keystream

__all__ = ["opendp_discrete_gaussian", "rounded_gaussian"]


def rounded_gaussian(std: float, size: int, source: Keystream) -> NDArray[np.int64]:
    """`size` draws of a continuous N(0, std^2), rounded to whole grid steps (idealised mechanism only)."""
    # A fresh key of the stream's own for every call, so that the nonce may be constant.
    normal = gaussian_noise(size, source.take(KEY_BYTES), bytes(NONCE_BYTES))
    return np.rint(normal.numpy() * std).astype(np.int64)


def opendp_discrete_gaussian(sigma: float, size: int) -> NDArray[np.int64]:
    """`size` draws from OpenDP's sampler (Canonne, Kamath, Steinke 2020), from its own secure randomness."""
    import opendp.prelude as dp

    dp.enable_features("contrib")
    space = dp.vector_domain(dp.atom_domain(T="i64")), dp.l2_distance(T="f64")
    return np.array(dp.m.make_gaussian(*space, scale=float(sigma))([0] * size), dtype=np.int64)
