"""Adaptive clipping: the clip norm follows a quantile of the contributions' norms, at the price of one more coordinate.

Andrew, Thakkar, McMahan, Ramaswamy 2021, "Differentially Private Learning with Adaptive Clipping", algorithm 1, inside
the one sum that is opened anyway. Every protected contribution is clipped to the current norm C_t and scaled by
C_0 / C_t, so that grid, noise and sensitivity are the same in every round, and adds one coordinate: plus w if its norm
was at most C_t, else minus w. Together they have an L2 norm of at most sqrt(C_0^2 + w^2), which the noise is sized for:
with w = C_0 / 10 that is 0.5 % more noise, the whole price. What the server makes of the opened coordinate is
post-processing. A norm itself never leaves a client.

Not covered, as with every clipped gradient here, is float rounding before the grid: a record whose norm is C_t up to
its last bits may be told as above or below depending on the batch it was computed in, 2 w in one coordinate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from fl_core.config import PrivacyConfig

__all__ = ["FARTHEST", "RoundClip", "bit_steps", "clip_of_round", "joint_steps", "next_clip_norm", "signed_bits"]

# w over C_0. The fraction of contributions below C_t then has a standard error of z sqrt(1 + 0.01) / 0.2 contributions
# over their number: half a percent at z = 1 and 1,000 contributions, for 0.5 % more noise on everything.
_BIT_SHARE = 0.1
# Farthest that the norm may go from where it began, either way; beyond it, the quantile was not to be had.
FARTHEST = 1000.0


@dataclass(frozen=True)
class RoundClip:
    """How contributions are clipped in one round.

    Attributes:
        norm: C_t, the L2 bound in the gradients' own units.
        scale: grid steps per unit after clipping; `norm * scale` is the same in every round.
        bit: w in grid steps; 0 with fixed clipping, where there is no extra coordinate.
    """

    norm: float
    scale: float
    bit: int = 0


def bit_steps(clip_steps: int) -> int:
    """w in grid steps, for a clip norm C_0 of `clip_steps` steps, which are 10 at least."""
    return round(_BIT_SHARE * clip_steps)


def joint_steps(clip_steps: int, bit: int) -> int:
    """L2 bound in grid steps of a clipped vector together with its bit, rounded up."""
    square = clip_steps**2 + bit**2
    root = math.isqrt(square)
    return root + (root * root < square)


def clip_of_round(initial: float, steps_per_unit: int, norm: float, bit: int) -> RoundClip:
    """The clip of a round with norm `norm`, for contributions sent as if the norm were `initial`.

    `floor(norm * scale)`, the kernels' bound, is `floor(initial * steps_per_unit)` in every round, whatever rounding
    does: not a step more, which the noise is not sized for, and not one less, which may be none at all.
    """
    scale, bound = steps_per_unit * initial / norm, math.floor(initial * steps_per_unit)
    while math.floor(norm * scale) > bound:
        scale = math.nextafter(scale, 0.0)
    while math.floor(norm * scale) < bound:
        scale = math.nextafter(scale, math.inf)
    return RoundClip(norm, scale, bit)


def signed_bits(norms: Tensor, accepted: Tensor | None, clip: RoundClip) -> Tensor:
    """The extra coordinates int64 `[b]`: plus or minus w; zero for a contribution that counts as zero.

    Args:
        norms: `[b]`, L2 norms before clipping.
        accepted: bool `[b]`, False for contributions that were dropped; None if none was.
        clip: of this round.
    """
    below = (norms <= clip.norm).long()
    bits = (2 * below - 1) * clip.bit
    return bits if accepted is None else bits * accepted.long()


def next_clip_norm(norm: float, opened: int, expected: float, bit: int, privacy: PrivacyConfig) -> float:
    """C_{t+1} = C_t exp(-eta (b - gamma)), b being the noisy fraction of contributions with norm at most C_t.

    Args:
        norm: C_t.
        opened: the extra coordinate of the opened sum, in grid steps.
        expected: contributions expected in this sum (sample rate times those of the clients in it): public.
        bit: w in grid steps.
        privacy: quantile gamma, learning rate eta, and C_0.
    """
    # Not cut to 0..1: a noisy fraction is right on average, and cut it would be pulled towards a half, so far with few
    # contributions that a high quantile is never reached and the norm grows for ever.
    fraction = 0.5 + opened / (2.0 * bit * expected)
    furthest = 2 * math.log(FARTHEST)  # from one end to the other; beyond, exp may overflow
    exponent = min(furthest, max(-furthest, -privacy.clip_learning_rate * (fraction - privacy.clip_quantile)))
    return min(privacy.clip_norm * FARTHEST, max(privacy.clip_norm / FARTHEST, norm * math.exp(exponent)))
