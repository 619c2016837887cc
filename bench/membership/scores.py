"""How well an attacker tells members from others, what a claimed epsilon allows, and whether it was exceeded.

Takes scores (higher: rather a member), who was a member, and whose records they are; gives plain numbers. Every bound
is for fair and independent coins, one a protected unit. An attack only shows that at least so much leaks: where nothing
is found, nothing is proven.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, binom

from fl_core.privacy.one_run_audit import audit_one_run
from fl_core.privacy.rdp import epsilon_from_rdp
from secagg.errors import SottoError

__all__ = ["Attack", "above", "allowed", "allowed_by_all", "attacked", "best_guess", "epsilons_of", "exceeded", "roc"]

FPRS = (0.01, 0.001)
SIGNIFICANCE = 0.01  # of all guesses of one attack together
_REPLICATES = 1000
_TESTS = 24  # numbers of guesses, half of them from either end
_SURE = 3.29  # standard deviations on both sides of a normal distribution's middle 99.9 %
_DELTAS = np.logspace(-10, -0.01, 120)


@dataclass(frozen=True)
class Attack:
    """One attack on one arm.

    Attributes:
        members, others: how many there were of each.
        auc: area under the ROC curve; 0.5 is guessing.
        auc_ci: 95 %, bootstrap over users.
        tpr: true-positive rate at each of `FPRS`, written as text; None where there are too few others to see it.
        tpr_ci: 95 % of these.
        balanced: best accuracy of a threshold when half are members.
        epsilon_shown: epsilon that the mechanism has at least, 95 % confidence, by `fl_core.privacy.one_run_audit`
            on these scores; None where coins were of whole users and scores of their records.
        null_ci: 99.9 % interval of the AUC, normal around it, for checks that 0.5 is in it.
    """

    members: int
    others: int
    auc: float
    auc_ci: tuple[float, float]
    tpr: dict[str, float | None]
    tpr_ci: dict[str, tuple[float, float] | None]
    balanced: float
    epsilon_shown: float | None
    null_ci: tuple[float, float]

    def row(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def roc(
    scores: NDArray[np.float64], inside: NDArray[np.bool_], weights: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """False- and true-positive rates `[k]` of every threshold, from 0 to 1; equal scores share a threshold."""
    weights = np.ones(len(scores)) if weights is None else weights
    order = np.argsort(-scores, kind="stable")
    last = np.append(scores[order][1:] != scores[order][:-1], True)
    rates = []
    for which in (~inside, inside):
        counted = np.cumsum((weights * which)[order])
        rates.append(np.concatenate([[0.0], counted[last] / counted[-1]]))
    return rates[0], rates[1]


def attacked(
    scores: NDArray[np.float64],
    inside: NDArray[np.bool_],
    users: NDArray[np.int64],
    delta: float | None = None,
    seed: int = 0,
) -> Attack:
    """Measure one attack.

    Args:
        scores: `[n]`, higher: rather a member.
        inside: bool `[n]`.
        users: `[n]`, whose they are: resampled together.
        delta: of the epsilon that is shown; None where coins were not one a score.
        seed: of the bootstrap.

    Raises:
        SottoError: if there are no members, or nobody else.
    """
    if inside.all() or not inside.any():
        raise SottoError(f"{int(inside.sum())} of {len(inside)} candidates are members; allowed: some and not all")
    order = np.argsort(-scores, kind="stable")  # sorted once, a thousand replicates are sorted at once
    scores, inside, users = scores[order], inside[order], users[order]
    fpr, tpr = roc(scores, inside)
    generator = np.random.Generator(np.random.PCG64(seed))
    _, users = np.unique(users, return_inverse=True)
    groups = int(users.max()) + 1
    found = np.empty((_REPLICATES, 1 + len(FPRS)))
    for replicate in range(_REPLICATES):
        weights = np.zeros(len(scores))
        while not (weights[inside].any() and weights[~inside].any()):  # of few users all may be members
            weights = np.bincount(generator.integers(groups, size=groups), minlength=groups)[users].astype(float)
        x, y = roc(scores, inside, weights)
        found[replicate] = [np.trapezoid(y, x), *(_tpr_at(x, y, at) for at in FPRS)]
    low, high = np.percentile(found, [2.5, 97.5], axis=0)
    area, spread = float(np.trapezoid(tpr, fpr)), _SURE * float(found[:, 0].std())
    others = int((~inside).sum())
    seen = {f"{at:g}": (1 / others <= at, index) for index, at in enumerate(FPRS, 1)}
    return Attack(
        members=int(inside.sum()),
        others=others,
        auc=area,
        auc_ci=(float(low[0]), float(high[0])),
        tpr={key: _tpr_at(fpr, tpr, float(key)) if there else None for key, (there, _) in seen.items()},
        tpr_ci={key: (float(low[i]), float(high[i])) if there else None for key, (there, i) in seen.items()},
        balanced=float((tpr + 1 - fpr).max() / 2),
        epsilon_shown=None if delta is None else audit_one_run(scores, inside, delta).epsilon,
        null_ci=(area - spread, area + spread),
    )


def _tpr_at(fpr: NDArray[np.float64], tpr: NDArray[np.float64], at: float) -> float:
    """The most members that a threshold finds with no more false positives than `at`; nothing is interpolated."""
    return float(tpr[np.searchsorted(fpr, at, side="right") - 1])


def allowed(fpr: NDArray[np.float64], epsilon: float, delta: float) -> NDArray[np.float64]:
    """The most true positives that (epsilon, delta) allows at each false-positive rate (Kairouz, Oh, Viswanath 2015).

    TPR <= e^epsilon FPR + delta, and the same of the guess "not a member".
    """
    with np.errstate(over="ignore"):
        first = np.exp(epsilon) * fpr + delta
    second = 1 - np.exp(-epsilon) * (1 - delta - fpr)
    bound: NDArray[np.float64] = np.clip(np.minimum(first, second), 0.0, 1.0)
    return bound


def best_guess(fpr: NDArray[np.float64], tpr: NDArray[np.float64]) -> float:
    """The best accuracy on half members, half others that a bound allows."""
    return float((tpr + 1 - fpr).max() / 2)


def epsilons_of(rdp: NDArray[np.float64]) -> list[tuple[float, float]]:
    """Epsilon and delta, at many deltas, for RDP at `fl_core.privacy.rdp.ORDERS`; none where nothing is bounded."""
    pairs = [(epsilon_from_rdp(rdp, float(delta)), float(delta)) for delta in _DELTAS]
    return [pair for pair in pairs if math.isfinite(pair[0])]


def allowed_by_all(fpr: NDArray[np.float64], pairs: list[tuple[float, float]]) -> NDArray[np.float64]:
    """The least of the bounds of all pairs of epsilon and delta at each false-positive rate."""
    return np.min([np.ones_like(fpr), *(allowed(fpr, epsilon, delta) for epsilon, delta in pairs)], axis=0)


def exceeded(
    scores: NDArray[np.float64], inside: NDArray[np.bool_], epsilon: float, delta: float
) -> list[dict[str, Any]]:
    """Guesses that were right more often than (epsilon, delta)-DP allows, beyond chance; empty if it was kept to.

    For each of some numbers k, fixed before scores are seen, the k highest scores are guessed to be members (a point of
    the ROC curve near its lower left) and the k lowest to be others (near its upper right). Steinke, Nasr, Jagielski
    2023 (arXiv 2305.08846), theorem 5.2, bounds the probability of so many right guesses in one run, in which all
    candidates share one noise; all k together are wrong with probability `SIGNIFICANCE` at most.

    Args:
        scores: `[m]` of every candidate, ties broken by their order, which knows nothing of the coins.
        inside: bool `[m]`, fair and independent coins.
        epsilon, delta: claimed for one candidate.
    """
    m, found = len(scores), []
    for guess, k, right in _guesses(scores, inside):
        p = _chance(m, k, right, epsilon, delta)
        if p < SIGNIFICANCE / _TESTS:
            found.append({"guess": guess, "guesses": k, "right": right, "p": p})
    return found


def above(
    scores: NDArray[np.float64], inside: NDArray[np.bool_], pairs: list[tuple[float, float]]
) -> list[dict[str, Any]]:
    """Points of the ROC curve that are above what all of a ledger's epsilons allow, beyond chance; empty if none is.

    For the guesses of `exceeded`: the lower limit of the rate of right ones (Clopper and Pearson) against the bound at
    the upper limit of the rate of wrong ones; all together are wrong with probability `SIGNIFICANCE`, if candidates
    told of by one noise were independent, which they are nearly. Where epsilon is large it
    sees what `exceeded` cannot.
    """
    found = []
    significance = SIGNIFICANCE / (2 * _TESTS)
    for guess, k, right in _guesses(scores, inside):
        of = int(np.count_nonzero(inside)) if guess == "member" else int(np.count_nonzero(~inside))
        others = len(inside) - of
        least = float(beta.ppf(significance, right, of - right + 1)) if right else 0.0
        wrong = k - right
        most = float(beta.ppf(1 - significance, wrong + 1, others - wrong)) if wrong < others else 1.0
        bound = float(allowed_by_all(np.array([most]), pairs)[0])
        if least > bound:
            found.append({"guess": guess, "guesses": k, "right": right, "least": least, "most": most, "bound": bound})
    return found


def _guesses(scores: NDArray[np.float64], inside: NDArray[np.bool_]) -> Iterator[tuple[str, int, int]]:
    """What is guessed, how many are guessed to be that, and how many of these guesses are right."""
    order = np.argsort(-scores, kind="stable")
    for guess, picked in (("member", order), ("no member", order[::-1])):
        for k in np.unique(np.geomspace(5, max(5, len(scores) // 2), _TESTS // 2).astype(int)):
            yield guess, int(k), int(np.count_nonzero(inside[picked[:k]] == (guess == "member")))


def _chance(m: int, guesses: int, right: int, epsilon: float, delta: float) -> float:
    """The largest probability of `right` or more right guesses of `guesses` about `m` candidates."""
    q = 1 / (1 + math.exp(-epsilon))
    tail = float(binom.sf(right - 1, guesses, q))
    if right == 0:
        return 1.0
    below = np.cumsum(binom.pmf(np.arange(right - 1, -1, -1), guesses, q))
    alpha = float((below / np.arange(1, right + 1)).max())
    return min(1.0, tail + 2 * m * delta * alpha)
