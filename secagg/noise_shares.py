"""Who adds how much noise: shares of the sum's noise for clients, or all of it for the server.

Takes the mechanism, the trust model and the wanted noise multiplier z; gives a `NoisePlan` in whole grid steps and
draws from it. Rounding is always toward more noise, and what was realised is read off the plan, never assumed.
It must never draw from anything but a `Keystream`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from secagg.errors import EncodingError
from secagg.randomness import Keystream
from secagg.samplers import discrete_gaussian, rounded_gaussian

__all__ = ["MAX_SIGMA", "MIN_SIGMA", "NoisePlan", "draw_noise", "plan_noise"]

# Below 4 steps the sum of discrete Gaussians is measurably not a discrete Gaussian (Kairouz, Liu, Steinke 2021,
# tau of Theorem 1 is 1e-67 at 4 and 1e-3 at 1), so smaller shares are refused rather than accounted loosely.
MIN_SIGMA = 4
MAX_SIGMA = 2**30


@dataclass(frozen=True)
class NoisePlan:
    """Noise of one round, in grid steps.

    Attributes:
        mechanism: "gaussian" (rounded continuous) or "discrete_gaussian".
        trust: "none", "central", "local" or "distributed".
        clip_steps: integer L2 bound of one protected contribution, C * s.
        client_std: standard deviation that each client adds; 0 if clients add none. Whole for the discrete mechanism.
        server_std: standard deviation that the server adds after the opening; 0 unless central.
        shares: n_t, the number of honest noise-givers that the shares are sized for.
    """

    mechanism: str
    trust: str
    clip_steps: int
    client_std: float
    server_std: float
    shares: int

    def sum_std(self, survivors: int) -> float:
        """Standard deviation of the noise in the sum of `survivors` messages, the server's included."""
        return math.sqrt(survivors * self.client_std**2 + self.server_std**2)

    def sum_multiplier(self, survivors: int) -> float:
        """Realised noise multiplier of the sum of `survivors` messages: standard deviation over clip norm."""
        return self.sum_std(survivors) / self.clip_steps


def plan_noise(mechanism: str, trust: str, noise_multiplier: float, clip_steps: int, shares: int) -> NoisePlan:
    """Size the noise so that `shares` honest contributors reach `noise_multiplier`.

    Distributed: each client adds `z * C * s / sqrt(n_t)`; local: each adds all of it; central: the server does.

    Args:
        mechanism: "gaussian" or "discrete_gaussian".
        trust: "none", "central", "local" or "distributed".
        noise_multiplier: z > 0 (ignored for trust none).
        clip_steps: C * s in grid steps.
        shares: n_t = n_min - colluders >= 1.

    Raises:
        EncodingError: if a discrete share would be below 4 or above 2^30 grid steps.
    """
    client_std = server_std = 0.0
    if trust == "distributed":
        client_std = noise_multiplier * clip_steps / math.sqrt(shares)
    elif trust == "local":
        client_std = noise_multiplier * clip_steps
    elif trust == "central":
        server_std = noise_multiplier * clip_steps
    if mechanism == "discrete_gaussian":
        client_std, server_std = (_whole_steps(std, shares) for std in (client_std, server_std))
    return NoisePlan(mechanism, trust, clip_steps, client_std, server_std, shares)


def draw_noise(mechanism: str, std: float, length: int, source: Keystream) -> NDArray[np.int64]:
    """`length` noise integers of standard deviation `std` grid steps; zeros for `std` 0."""
    if std == 0:
        return np.zeros(length, dtype=np.int64)
    if mechanism == "discrete_gaussian":
        # One joint draw standing for many shares has a standard deviation that need not be whole.
        return discrete_gaussian(math.ceil(std), length, source)
    return rounded_gaussian(std, length, source)


def _whole_steps(std: float, shares: int) -> float:
    if std == 0:
        return 0.0
    sigma = math.ceil(std)
    if sigma < MIN_SIGMA or sigma > MAX_SIGMA:
        raise EncodingError(
            f"a noise share of {std:.3g} grid steps (for {shares} noise-givers) is outside {MIN_SIGMA} to 2^30: "
            f"{'raise' if sigma < MIN_SIGMA else 'lower'} privacy.scale_bits"
        )
    return float(sigma)
