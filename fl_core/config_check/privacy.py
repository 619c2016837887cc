"""The guarantee: clip norm and grid, epsilon or noise multiplier, a budget that runs share."""

from __future__ import annotations

import math

from fl_core.config import RunConfig
from fl_core.config_check.refusals import Need, positive

__all__ = ["FARTHEST", "MIN_CLIP_NORM", "check_privacy"]

# The kernels' own bound (`kernels.clip_sum.MIN_CLIP_NORM`), whose module would load torch for a look at a file.
MIN_CLIP_NORM = 1e-9
# `fl_core.adaptive_clipping.FARTHEST`, for the same reason.
FARTHEST = 1000.0


def check_privacy(config: RunConfig, need: Need) -> None:
    """Refuse values of the section privacy."""
    p = config.privacy
    need(MIN_CLIP_NORM <= p.clip_norm < math.inf, "privacy.clip_norm", p.clip_norm, f"{MIN_CLIP_NORM:g} or more")
    need(0 < p.delta < 1, "privacy.delta", p.delta, "above 0 and below 1")
    need(4 <= p.scale_bits <= 40, "privacy.scale_bits", p.scale_bits, "4 to 40")
    steps = p.clip_norm * 2**p.scale_bits
    need(1 <= steps <= 2**40, "privacy.clip_norm * 2^privacy.scale_bits", steps, "1 to 2^40 grid steps")
    _check_clipping(config, need)
    _check_epsilon(config, need)
    _check_budget(config, need)


def _check_clipping(config: RunConfig, need: Need) -> None:
    """Settings of adaptive clipping, and room for the norm to move and for a coordinate of a tenth of it."""
    p = config.privacy
    need(0 < p.clip_quantile < 1, "privacy.clip_quantile", p.clip_quantile, "above 0 and below 1")
    need(positive(p.clip_learning_rate), "privacy.clip_learning_rate", p.clip_learning_rate, "a number above 0")
    if p.clipping != "adaptive":
        return
    need(
        p.clip_norm / FARTHEST >= MIN_CLIP_NORM,
        "privacy.clip_norm",
        f"{p.clip_norm} while privacy.clipping is adaptive",
        f"above {FARTHEST * MIN_CLIP_NORM:g} (the norm may fall to a thousandth), or privacy.clipping fixed",
    )
    steps = p.clip_norm * 2**p.scale_bits
    need(
        10 <= steps <= 2**39,
        "privacy.clip_norm * 2^privacy.scale_bits",
        f"{steps} while privacy.clipping is adaptive",
        "10 to 2^39 grid steps (norms are told in a coordinate of a tenth of them), or privacy.clipping fixed",
    )


def _check_epsilon(config: RunConfig, need: Need) -> None:
    """One of epsilon and noise multiplier where noise is added, and none where none is."""
    p = config.privacy
    if p.trust == "none":
        need(
            p.epsilon is None and p.noise_multiplier is None,
            "privacy.epsilon or privacy.noise_multiplier",
            "set while privacy.trust is none (no noise is added)",
            "no epsilon with trust none, or trust central, local or distributed",
        )
        return
    need(
        (p.epsilon is None) != (p.noise_multiplier is None),
        "privacy.epsilon",
        "set, and so is privacy.noise_multiplier"
        if p.epsilon is not None
        else "missing, and so is privacy.noise_multiplier",
        f"exactly one of them with trust {p.trust}",
    )
    for key, value in (("epsilon", p.epsilon), ("noise_multiplier", p.noise_multiplier)):
        need(value is None or positive(value), f"privacy.{key}", value, "a number above 0")


def _check_budget(config: RunConfig, need: Need) -> None:
    p = config.privacy
    if p.budget is None:
        return
    need(p.budget.strip() != "", "privacy.budget", "empty", "a folder, or null")
    need(
        p.trust != "none" and p.insecure_seed is None,
        "privacy.budget",
        f"{p.budget!r} while " + ("privacy.trust is none" if p.trust == "none" else "privacy.insecure_seed is set"),
        "null for a run that is not private: no budget has room for it",
    )
