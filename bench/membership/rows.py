"""From the repetitions of an arm to its row: every attack on it, what was allowed, and what was exceeded.

Repetitions are pooled: each has its own candidates, coins and noise, so a coin touches one of them only and all of them
together promise each candidate what one of them does.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.membership.candidates import Candidates
from bench.membership.design import DELTA, Arm
from bench.membership.scores import (
    above,
    allowed,
    allowed_by_all,
    attacked,
    best_guess,
    epsilons_of,
    exceeded,
    roc,
)
from fl_core.privacy.joint import rdp_of_ledger
from fl_core.privacy.ledger_file import LedgerContents
from fl_core.privacy.one_run_audit import audit_one_run

__all__ = ["FPR", "Repetition", "control_row", "null_row", "row_of"]

FPR = np.concatenate([[0.0], np.geomspace(1e-4, 1.0, 81)])  # at which curves and bounds are kept
_FINE = np.linspace(0.0, 1.0, 10_001)


@dataclass(frozen=True)
class Repetition:
    """One run and what an attacker computes from it.

    Attributes:
        seed: of candidates, coins and the adapter's first values.
        candidates: who might have taken part.
        before, after: nats a token of each candidate under the public base and under the released model, `[n]`.
        summary: the run's.
        contents: its ledger.
    """

    seed: int
    candidates: Candidates
    before: NDArray[np.float64]
    after: NDArray[np.float64]
    summary: dict[str, Any]
    contents: LedgerContents


@dataclass(frozen=True)
class _Scored:
    """What one attack sees: one score for each sequence, or each user."""

    scores: NDArray[np.float64]
    inside: NDArray[np.bool_]
    users: NDArray[np.int64]


def row_of(arm: Arm, repetitions: Sequence[Repetition]) -> dict[str, Any]:
    """All of one arm, as JSON."""
    row = _facts(arm, repetitions)
    violations = []
    for name, scored in _attacks(arm, repetitions).items():
        coined = _coined(arm, name)
        found = attacked(scored.scores, scored.inside, scored.users, DELTA if coined else None)
        fpr, tpr = roc(scored.scores, scored.inside)
        curve = tpr[np.searchsorted(fpr, FPR, side="right") - 1]
        row["attacks"][name] = {**found.row(), "tpr_curve": [round(float(value), 5) for value in curve]}
        if arm.epsilon is not None and coined:
            row["tried"] += 1
            violations += [f"{name}: {text}" for text in _beyond(scored, arm.epsilon, _pairs(repetitions))]
    if arm.epsilon is not None:
        by_claim, by_ledger = allowed(FPR, arm.epsilon, DELTA), allowed_by_all(FPR, _pairs(repetitions))
        row["spent"] = max(one.summary["privacy"]["views"]["release"]["epsilon"] or np.inf for one in repetitions)
        row["allowed"] = [round(float(value), 5) for value in by_claim]
        row["allowed_by_ledger"] = [round(float(value), 5) for value in by_ledger]
        row["balanced_allowed"] = best_guess(_FINE, allowed(_FINE, arm.epsilon, DELTA))
        row["balanced_allowed_by_ledger"] = best_guess(_FINE, allowed_by_all(_FINE, _pairs(repetitions)))
        row["tried"] += 1
        if row["spent"] > arm.epsilon:
            violations.append(f"the ledger counts epsilon {row['spent']:.4g}, and {arm.epsilon:g} was claimed")
    return row | {"violations": violations}


def control_row(free: Arm, of: Sequence[Repetition], private: Arm, claim: Sequence[Repetition]) -> dict[str, Any]:
    """Whether the checks see it if an arm without noise makes another arm's claim, with that one's ledger."""
    assert private.epsilon is not None
    says = []
    for name, scored in _attacks(free, of).items():
        if _coined(free, name):
            says += [f"{name}: {text}" for text in _beyond(scored, private.epsilon, _pairs(claim))]
    return {
        "unit": free.unit,
        "models": free.name,
        "claims": private.name,
        "tried": 1,
        "caught": bool(says),
        "says": says,
    }


def _coined(arm: Arm, attack: str) -> bool:
    """Whether a coin decided about what a score is about: only then is there a bound."""
    return arm.unit == "example" or attack.startswith("user")


def _pairs(repetitions: Sequence[Repetition]) -> list[tuple[float, float]]:
    """Epsilons and deltas of the release view of the ledgers, which are alike."""
    return epsilons_of(rdp_of_ledger(repetitions[0].contents)["release"])


def _beyond(scored: _Scored, epsilon: float, pairs: list[tuple[float, float]]) -> list[str]:
    """In which ways an attack did better than it may."""
    scores, inside = scored.scores, scored.inside
    found = [
        f"{one['right']} of {one['guesses']} guesses {one['guess']!r} were right, which epsilon {epsilon:g} allows "
        f"with probability {one['p']:.1g}"
        for one in exceeded(scores, inside, epsilon, DELTA)
    ]
    found += [
        f"of {one['guesses']} guesses {one['guess']!r} {one['right']} were right: a rate of {one['least']:.3f} at "
        f"least, and the ledger allows {one['bound']:.3f} where {one['most']:.3f} are called so wrongly"
        for one in above(scores, inside, pairs)
    ]
    sure = audit_one_run(scores, inside, DELTA, confidence=0.999).epsilon
    if sure > epsilon:
        found.append(f"a Gaussian mechanism with such guesses has epsilon {sure:.2f} at least, not {epsilon:g}")
    return found


def null_row(arm: Arm, repetitions: Sequence[Repetition]) -> dict[str, Any]:
    """The same attacks where there is nothing to find: AUC 0.5 must be inside each one's 99.9 % interval.

    The loss attack is on the public base, which saw nobody; the calibrated one is on this arm's models with coins that
    were thrown afresh and decided nothing.
    """
    scored = {}
    for name, was in _attacks(arm, repetitions, base=True).items():
        if name.endswith("loss"):
            scored[f"{name} of the public base"] = was
    for name, was in _attacks(arm, repetitions, fresh=True).items():
        if name.endswith("calibrated"):
            scored[f"{name}, coins that decided nothing"] = was
    row: dict[str, Any] = {"unit": arm.unit, "models": arm.name, "tried": 0, "attacks": {}}
    violations = []
    for name, was in scored.items():
        found = attacked(was.scores, was.inside, was.users)
        row["attacks"][name] = found.row()
        row["tried"] += 1
        low, high = found.null_ci
        if not low <= 0.5 <= high:
            violations.append(f"{name}: AUC {found.auc:.3f} ({low:.3f} to {high:.3f}) where nobody is a member")
    return row | {"violations": violations}


def _attacks(
    arm: Arm, repetitions: Sequence[Repetition], base: bool = False, fresh: bool = False
) -> dict[str, _Scored]:
    """Scores of all repetitions together, by attack; users of two repetitions are never the same."""
    parts: dict[str, list[_Scored]] = {}
    for one in repetitions:
        c = one.candidates
        inside = _fresh_coins(arm, one) if fresh else c.inside
        count = int(c.users.max()) + 1
        number = one.seed * count + np.arange(count)
        sizes = np.bincount(c.users)
        for name, scores in (
            ("loss", -(one.before if base else one.after)),
            ("calibrated", one.before - one.after),
        ):
            parts.setdefault(name, []).append(_Scored(scores, inside, number[c.users]))
            if arm.unit == "client":
                mean = np.bincount(c.users, scores) / sizes
                taken = np.bincount(c.users, inside) > 0
                parts.setdefault(f"user {name}", []).append(_Scored(mean, taken, number))
    return {
        name: _Scored(*(np.concatenate([getattr(part, key) for part in some]) for key in ("scores", "inside", "users")))
        for name, some in parts.items()
    }


def _fresh_coins(arm: Arm, one: Repetition) -> NDArray[np.bool_]:
    users = one.candidates.users
    coins = np.random.Generator(np.random.PCG64([one.seed, 3]))
    return coins.random(len(users)) < 0.5 if arm.unit == "example" else (coins.random(users.max() + 1) < 0.5)[users]


def _facts(arm: Arm, repetitions: Sequence[Repetition]) -> dict[str, Any]:
    summaries = [one.summary for one in repetitions]
    config = summaries[0]["config"]
    accuracies = [summary["accuracy_after"] for summary in summaries]
    together = [
        np.concatenate([getattr(one, when)[one.candidates.inside == member] for one in repetitions]).mean()
        for when in ("before", "after")
        for member in (True, False)
    ]
    return {
        "unit": arm.unit,
        "epsilon": arm.epsilon,
        "delta": DELTA,
        "learning_rate": arm.learning_rate,
        "seeds": [one.seed for one in repetitions],
        "rounds": config["federation"]["rounds"],
        "sample_rate": config["federation"]["sample_rate"],
        "noise_multiplier": summaries[0]["noise_multiplier"],
        "parameters": summaries[0]["parameters"],
        "accuracy_base": statistics.mean(summary["accuracy_before"] for summary in summaries),
        "accuracy": statistics.mean(accuracies),
        "accuracy_deviation": statistics.stdev(accuracies) if len(accuracies) > 1 else None,
        "perplexity_base": statistics.mean(summary["scores_before"]["perplexity"] for summary in summaries),
        "perplexity": statistics.mean(summary["scores_after"]["perplexity"] for summary in summaries),
        "loss": dict(zip(("members before", "others before", "members", "others"), map(float, together), strict=True)),
        "seconds": round(sum(summary["seconds"] for summary in summaries), 1),
        "warnings": list(dict.fromkeys(text for s in summaries for text in [*s["privacy"]["warnings"], *s["notes"]])),
        "attacks": {},
        "tried": 0,
    }
