"""Adaptive clipping: the clip norm follows a quantile of the contributions' norms (Andrew, Thakkar, McMahan and
Ramaswamy 2021, "Differentially Private Learning with Adaptive Clipping", algorithm 1).

Takes norms, opened sums and settings; gives what each contribution of a round is clipped to and the next clip norm.
Every contribution also says, in one more coordinate at the end of its vector, whether its norm was at most the clip
norm: `+w` grid steps if so, `-w` if not, and zero if it counts for nothing. That coordinate is noised, summed and
opened with all others, so that the fraction below is known from the noisy sum alone, and following it is
post-processing. No norm may reach the server in any other way, and the joint bound holds for every contribution.

Contributions are normalised: clipped to C_t and multiplied by `C_0 / C_t`. The grid, the integer bound `floor(C_0 s)`
and the noise are therefore those of the first round for ever; the server multiplies by `C_t / C_0` after decoding.
What it costs: a contribution has an L2 norm of at most `sqrt((C_0 s)^2 + w^2)`, which is `sqrt(1 + kappa^2)` = 1.005
times that without the coordinate, and the noise is sized for it. The paper makes the same trade with two sizes of noise
(`sigma_b` for the count, a little more for the sum); here all coordinates have the same, and one has a weight.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = [
    "KAPPA",
    "REACH",
    "AdaptiveClipping",
    "RoundClip",
    "bit_weight",
    "contribution_steps",
    "follow",
    "fraction_below",
    "joint_clip_steps",
    "next_clip_norm",
    "norm_bits",
    "round_clip",
]

# Weight of the extra coordinate over the clip norm. The noise grows by sqrt(1 + KAPPA^2), here 0.5 %, and the estimated
# fraction's own noise falls as 1 / KAPPA: its standard deviation is z sqrt(1 + KAPPA^2) / (2 KAPPA m) for m expected
# contributions, 0.05 at z = 1 and m = 100. Twice the weight would cost four times as much on every other coordinate.
KAPPA = 0.1
# The clip norm stays within this factor of the initial one: estimates are noisy, and a run of bad luck, or clients that
# lie, must not take it to where the server's step overflows or nothing moves.
REACH = 1000.0


@dataclass(frozen=True)
class AdaptiveClipping:
    """Settings of a run, all of them public and fixed before its first round.

    Attributes:
        initial: C_0, the first round's clip norm.
        grid_scale: s, grid steps per unit.
        quantile: the fraction of norms that shall lie at or below the clip norm, gamma.
        learning_rate: eta_C, of the geometric update.
    """

    initial: float
    grid_scale: int
    quantile: float
    learning_rate: float


@dataclass(frozen=True)
class RoundClip:
    """What one round does to each contribution.

    Attributes:
        clip_norm: C_t.
        scale: grid steps per unit that the clipped contribution is multiplied by.
        weight: grid steps of the extra coordinate; 0: there is none, and clipping is fixed.
    """

    clip_norm: float
    scale: float
    weight: int = 0

    def message_length(self, parameters: int) -> int:
        """Coordinates of a contribution of `parameters` numbers."""
        return parameters + (1 if self.weight else 0)


def contribution_steps(settings: AdaptiveClipping) -> int:
    """`floor(C_0 s)`: the integer L2 bound of a contribution without its extra coordinate, in every round."""
    return math.floor(settings.initial * settings.grid_scale)


def bit_weight(settings: AdaptiveClipping) -> int:
    """w, the extra coordinate's size in grid steps: `round(kappa C_0 s)`."""
    return round(KAPPA * settings.initial * settings.grid_scale)


def joint_clip_steps(settings: AdaptiveClipping) -> int:
    """`sqrt((C_0 s)^2 + w^2)` in grid steps, rounded up: the L2 bound of a contribution with its extra coordinate."""
    squared = contribution_steps(settings) ** 2 + bit_weight(settings) ** 2
    return math.isqrt(squared - 1) + 1


def round_clip(settings: AdaptiveClipping, clip_norm: float) -> RoundClip:
    """What a round with clip norm C_t does: clip, multiply by `s C_0 / C_t`, add the coordinate.

    The kernels bound a contribution by `floor(clip_norm scale)`, computed in float64; the scale is moved by a last bit
    where that would not be `floor(C_0 s)` exactly, since a step more would be a step above the accounted bound.
    """
    bound = contribution_steps(settings)
    scale = settings.initial * settings.grid_scale / clip_norm
    while math.floor(clip_norm * scale) > bound:
        scale = math.nextafter(scale, 0.0)
    while math.floor(clip_norm * scale) < bound:
        scale = math.nextafter(scale, math.inf)
    return RoundClip(clip_norm, scale, bit_weight(settings))


def norm_bits(clip: RoundClip, norms: Tensor, accepted: Tensor | None) -> Tensor:
    """The extra coordinate of each contribution, int64 `[b]` in grid steps.

    Args:
        clip: the round's clip norm and weight.
        norms: L2 norms before clipping `[b]`.
        accepted: `[b]` bool, False for contributions that count as zero, whose coordinate is zero too; None: all count.
    """
    signs = torch.where(norms <= clip.clip_norm, clip.weight, -clip.weight)
    return signs if accepted is None else torch.where(accepted, signs, 0)


def fraction_below(settings: AdaptiveClipping, opened: int, expected: float) -> float:
    """Estimate of the fraction of contributions with a norm of at most C_t; noisy, so not always between 0 and 1.

    Args:
        settings: of the run.
        opened: the extra coordinate of the opened sum, in grid steps.
        expected: contributions that are expected in it; public, and no count of those that did take part.
    """
    return opened / (bit_weight(settings) * expected) / 2 + 0.5


def next_clip_norm(settings: AdaptiveClipping, clip_norm: float, fraction: float) -> float:
    """`C_t exp(-eta_C (b - gamma))` (equation 1 of the paper's geometric update), within `REACH` of C_0."""
    lowest, highest = settings.initial / REACH, settings.initial * REACH
    # No further than from one end to the other, which also keeps exp from overflowing.
    furthest = 2 * math.log(REACH)
    exponent = -settings.learning_rate * (fraction - settings.quantile)
    moved = clip_norm * math.exp(min(max(exponent, -furthest), furthest))
    return min(max(moved, lowest), highest)


def follow(
    settings: AdaptiveClipping, clip_norm: float, decoded: NDArray[np.float64], expected: float
) -> tuple[NDArray[np.float64], float]:
    """What the server makes of a decoded sum: the sum in true units `[p]`, and the next round's clip norm.

    Args:
        settings: of the run.
        clip_norm: C_t of the round that was opened.
        decoded: the opened sum in units of the first round `[p + 1]`, the extra coordinate last.
        expected: as in `fraction_below`.
    """
    opened = round(float(decoded[-1]) * settings.grid_scale)
    total = decoded[:-1] * (clip_norm / settings.initial)
    return total, next_clip_norm(settings, clip_norm, fraction_below(settings, opened, expected))
