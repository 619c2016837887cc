"""An audit by one run: how much privacy a mechanism can have at most, given how well an attacker guesses.

Takes one score for each of many canaries, records that a fair coin put into the data or left out, and gives a lower
bound on epsilon that is wrong with a chosen probability at most, or on mu of Gaussian differential privacy. A bound
above what is claimed proves a fault; one below proves nothing. It must never replace the accountant.

Mahloujifar, Melis, Chaudhuri 2024 (arXiv 2410.22235, "Auditing f-differential privacy in one run"), whose bound uses
the whole trade-off curve and so finds faults that the epsilon-delta bound of Steinke, Nasr, Jagielski 2023 does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import dp_accounting
import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from fl_core.privacy.events import PrivacyError, check_delta

__all__ = ["OneRunAudit", "audit_one_run", "gaussian_epsilon", "largest_refuted_mu"]

_MOST_MU = 2.0**10
_STEPS = 40  # of bisection: mu to 1e-9


@dataclass(frozen=True)
class OneRunAudit:
    """What an attacker achieved, and what follows.

    Attributes:
        canaries: how many were in or out.
        guesses: of how many of them it said which.
        correct: how many of these guesses were right.
        mu: the mechanism is mu-GDP for no smaller mu than this; 0 if nothing follows.
        epsilon: the same as epsilon at `delta`.
        delta: as asked.
        confidence: probability, over coins and noise, that such a bound is right.
    """

    canaries: int
    guesses: int
    correct: int
    mu: float
    epsilon: float
    delta: float
    confidence: float


def audit_one_run(
    scores: NDArray[np.float64],
    included: NDArray[np.bool_],
    delta: float,
    guesses: int | None = None,
    confidence: float = 0.95,
) -> OneRunAudit:
    """Guess the canaries of the highest scores to be in and those of the lowest to be out, half of the guesses each.

    Args:
        scores: `[m]`, higher for canaries that are rather in; of every canary, whatever its coin was.
        included: bool `[m]`, the fair and independent coins.
        delta: of the epsilon to give.
        guesses: how many; fixed before the scores are seen. Default: a quarter of the canaries.
        confidence: of the bound, above 0 and below 1.

    Raises:
        PrivacyError: for lengths that differ, fewer than two canaries, or numbers out of range.
    """
    delta, canaries = check_delta(delta), len(scores)
    guesses = max(2, canaries // 4) if guesses is None else guesses
    if scores.shape != (canaries,) or included.shape != (canaries,) or included.dtype != np.bool_ or canaries < 2:
        raise PrivacyError(
            f"an audit needs a score and a coin for each of 2 or more canaries; got shapes {scores.shape} and "
            f"{included.shape} of {included.dtype}"
        )
    if not 2 <= guesses <= canaries or not 0 < confidence < 1:
        raise PrivacyError(
            f"{guesses} guesses with confidence {confidence}; allowed: 2 to {canaries} guesses, above 0 and below 1"
        )
    order = np.argsort(scores, kind="stable")
    out, into = order[: guesses // 2], order[canaries - (guesses - guesses // 2) :]
    correct = int(np.count_nonzero(included[into]) + np.count_nonzero(~included[out]))
    mu = largest_refuted_mu(canaries, guesses, correct, 1 - confidence)
    return OneRunAudit(canaries, guesses, correct, mu, gaussian_epsilon(mu, delta), delta, confidence)


def largest_refuted_mu(canaries: int, guesses: int, correct: int, significance: float) -> float:
    """The largest mu for which mu-GDP makes so many correct guesses less probable than `significance`; 0 if none.

    Args:
        canaries: m, each in or out by a fair coin.
        guesses: c' of these m were guessed.
        correct: c of the guesses were right.
        significance: tau, above 0 and below 1.
    """
    low, high = 0.0, 1.0
    if not _refuted(low, canaries, guesses, correct, significance):
        return 0.0
    while _refuted(high, canaries, guesses, correct, significance):
        low, high = high, 2 * high
        if high > _MOST_MU:
            return low
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if _refuted(middle, canaries, guesses, correct, significance):
            low = middle
        else:
            high = middle
    return low


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Epsilon at `delta` of the Gaussian mechanism with sensitivity `mu` and deviation 1 (Balle and Wang 2018)."""
    if mu == 0:
        return 0.0
    return max(0.0, float(dp_accounting.get_epsilon_gaussian(1 / mu, delta)))


def _refuted(mu: float, canaries: int, guesses: int, correct: int, significance: float) -> bool:
    """Whether mu-GDP is refuted: algorithm 3 of the paper, with two symbols.

    If the claim held, and `correct` or more right guesses were as probable as `significance`, then r_i and h_i would
    bound from below the shares of canaries that are guessed right and wrong when there are i or more right guesses;
    h_i >= F^-1(r_{i+1}), F(x) = Phi(Phi^-1(x) + mu) being one minus the trade-off curve. At i = 0 they cannot be more
    than all canaries that are guessed.
    """
    r = significance * correct / canaries
    h = significance * (guesses - correct) / canaries
    for i in range(correct - 1, -1, -1):
        above = max(h, float(ndtr(ndtri(r) - mu)))
        if above == h or r + h > guesses / canaries:
            break  # neither changes any more, or nothing that follows could undo it: both only grow
        h, r = above, r + i / (guesses - i) * (above - h)
    return r + h > guesses / canaries
