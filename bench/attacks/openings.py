"""A coordinator that wants one client's vector out of sums: by differences, small sets, replays and restarts.

Without noise, so that whoever gets a difference gets the vector itself: noise is the first line of defence, and these
checks are the second. The victim is client 0; the attacker compares what it got with that client's vector.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np

from bench.attacks.attack import EXACT, NOTHING, VICTIM, Attack, Check, Outcome
from bench.attacks.checks import CLOSE_SETS, ONCE, TERMS
from bench.attacks.stage import CLIENTS, Stage, vector_of
from secagg import envelopes
from secagg.party import state
from secagg.party.journal import Journal
from secagg.wire import ids_of

__all__ = ["ATTACKS"]

_COORDINATOR = "coordinator"
_LIMITS = "Sums over two runs, or over adapters that differ in one bit, are not compared"


def _difference(stage: Stage, one: Any, other: Any, wanted: Any, what: str = EXACT) -> Outcome:
    """Won if the difference of two sums is what was wanted."""
    if one is None or other is None:
        return Outcome(False, NOTHING, stage.said)
    won = bool(np.array_equal(np.asarray(one) - np.asarray(other), np.asarray(wanted)))
    return Outcome(won, what if won else "two sums that give nothing away", stage.said)


def _two_sets(first: Collection[int], second: Collection[int], minus: int | None = None) -> Callable[[Path], Outcome]:
    """Two attempts at one round over two sets: one client apart, or with `minus` in the victim's place."""
    wanted = vector_of(VICTIM) - (0 if minus is None else vector_of(minus))
    what = EXACT if minus is None else f"the exact difference of the vectors of clients {VICTIM} and {minus}"

    def run(folder: Path) -> Outcome:
        with Stage(folder) as stage:
            name, sums = stage.new_run(), []
            for attempt, clients in enumerate((first, second)):
                spec = stage.spec(name, attempt=attempt)
                sums.append(stage.total(spec, stage.all_sealed(spec, clients)))
            one, other = sums if VICTIM in first else sums[::-1]
            return _difference(stage, one, other, wanted, what)

    return run


def _few(n_min: int, clients: Collection[int]) -> Callable[[Path], Outcome]:
    """One sum of one client."""

    def run(folder: Path) -> Outcome:
        with Stage(folder) as stage:
            spec = stage.spec(n_min=n_min)
            found = stage.total(spec, stage.all_sealed(spec, clients))
            return _difference(stage, found, 0, vector_of(VICTIM))

    return run


def _replayed(restarted: bool) -> Callable[[Path], Outcome]:
    """The recorded messages of an attempt that was opened, less one: nobody is asked again, and no noise is fresh."""

    def run(folder: Path) -> Outcome:
        with Stage(folder) as stage:
            spec = stage.spec()
            recorded = stage.all_sealed(spec, range(5))
            first = stage.total(spec, recorded)
            if restarted:
                stage.restart()
            return _difference(stage, first, stage.total(spec, recorded[1:]), vector_of(VICTIM))

    return run


def _moved(**elsewhere: object) -> Callable[[Path], Outcome]:
    """Messages recorded in one place, handed in at another, where they were not sent to."""

    def run(folder: Path) -> Outcome:
        with Stage(folder) as stage:
            place = {"run": stage.new_run(), "round_": 1, "attempt": 0, "model": "aa"}
            spec = stage.spec(**place)  # type: ignore[arg-type]
            recorded = stage.all_sealed(spec, range(5))
            first = stage.total(spec, recorded)
            other = stage.spec(**{**place, "model": "bb", **elsewhere})  # type: ignore[arg-type]
            return _difference(stage, first, stage.total(other, recorded[1:]), vector_of(VICTIM))

    return run


def _lied_about_model(folder: Path) -> Outcome:
    """Clients compute on one adapter; parties are told of another, so that they compare nothing."""
    with Stage(folder) as stage:
        name, sums = stage.new_run(), []
        for attempt, clients in enumerate((range(5), range(1, 5))):
            told, asked = (stage.spec(name, attempt=attempt, model=model) for model in (f"b{attempt}", "aa"))
            sums.append(stage.total(told, stage.all_sealed(asked, clients)))
        return _difference(stage, sums[0], sums[1], vector_of(VICTIM))


def _compared_elsewhere(**second: object) -> Callable[[Path], Outcome]:
    """Clients are asked twice, under names that parties do not compare."""

    def run(folder: Path) -> Outcome:
        with Stage(folder) as stage:
            place = {"run": stage.new_run(), "round_": 1, "attempt": 0, "model": "aa"}
            sums = []
            for where, clients in ((place, range(5)), ({**place, **second}, range(1, 5))):
                spec = stage.spec(**where)  # type: ignore[arg-type]
                sums.append(stage.total(spec, stage.all_sealed(spec, clients)))
            return _difference(stage, sums[0], sums[1], vector_of(VICTIM))

    return run


def _series(folder: Path) -> Outcome:
    """Three sets, each pair far apart, two of which less the third are the victim twice."""
    with Stage(folder) as stage:
        name, sums = stage.new_run(), []
        for attempt, clients in enumerate(((0, 1, 2, 3), (0, 4, 5, 6), range(1, 7))):
            spec = stage.spec(name, attempt=attempt)
            sums.append(stage.total(spec, stage.all_sealed(spec, clients)))
        if any(found is None for found in sums):
            return Outcome(False, NOTHING, stage.said)
        return _difference(stage, sums[0] + sums[1], sums[2], 2 * vector_of(VICTIM))


def _different_sets_shown(folder: Path) -> Outcome:
    """Party 0 gets the parts of five clients, party 1 those of four: sums that do not fit could be told apart."""
    with Stage(folder) as stage:
        spec = stage.spec()
        messages = stage.all_sealed(spec, range(5))
        messages[VICTIM] = envelopes.SealedMessage((VICTIM,), (messages[VICTIM].parts[0], b""))
        found = stage.opened(spec, messages)
        whole = sum(vector_of(client) for client in range(1, 5))
        won = found is not None and not np.array_equal(found[0], whole)
        return Outcome(won, "a sum of shares that do not fit" if won else NOTHING, stage.said)


def _different_rounds_told(folder: Path) -> Outcome:
    """Party 0 is told one model and party 1 another, each of which it has not compared with anything."""
    with Stage(folder, timeout_s=1.0) as stage:
        name = stage.new_run()
        first = stage.spec(name)
        one = stage.total(first, stage.all_sealed(first, range(5)))
        told = [stage.spec(name, attempt=1, model=model) for model in ("aa", "bb")]
        messages = stage.all_sealed(told[1], range(1, 5))
        return _difference(stage, one, stage.total(told, messages), vector_of(VICTIM))


def _no_label(spec: object, deployment: object) -> bytes:
    return bytes(32)


def _no_policy(spec: object, deployment: object) -> None:
    return None


def _any_header(values: list[Any], spec: object, deployment: object, party: int) -> tuple[tuple[int, ...], bytes]:
    return tuple(ids_of(values[5])), values[0]


_HEADERS = Check("the comparison of a part's header with the open round", ((envelopes, "check_header", _any_header),))
_FEW = (state, "require_minimum", lambda spec, clients: None)

ATTACKS = (
    Attack(
        "superset", _COORDINATOR, "opens one model over a set, then over the set and one more client", "party",
        r"differ by 1 from those of an earlier opening of the same model", _two_sets(range(1, 5), range(5)),
        CLOSE_SETS,
    ),
    Attack(
        "subset", _COORDINATOR, "opens one model over a set, then without one client, whose message it drops", "party",
        r"differ by 1 from those", _two_sets(range(5), range(1, 5)), CLOSE_SETS,
    ),
    Attack(
        "exchange", _COORDINATOR, "opens one model over two sets in which one client has another's place", "party",
        r"differ by 2 from those .* at least 3", _two_sets((0, 2, 3, 4), (1, 2, 3, 4), minus=1), CLOSE_SETS,
    ),
    Attack(
        "series", _COORDINATOR, "opens one model over three sets, pairwise far apart, that add up to one client",
        "nobody", "Nor are combinations of three sums compared", _series, document="SECURITY.md",
    ),
    Attack(
        "other-adapter", _COORDINATOR, "asks clients again over an adapter that differs in a bit, and drops one client",
        "nobody", _LIMITS, _compared_elsewhere(round_=2, model="ab"), document="SECURITY.md",
    ),
    Attack(
        "other-run", _COORDINATOR, "asks clients again under another run's name, and drops one client",
        "nobody", _LIMITS, _compared_elsewhere(run="another run"), document="SECURITY.md",
    ),
    Attack(
        "model-lie", _COORDINATOR, "asks clients twice over one adapter, and tells parties of two others", "party",
        r"a part for other terms \(model", _lied_about_model, TERMS,
    ),
    Attack(
        "low-minimum", _COORDINATOR, "asks the parties for a round with n_min 1, and hands in one client's message",
        "party", r"n_min 1; this party opens no sum of fewer than 3", _few(1, (VICTIM,)),
        Check("the party's own policy", ((state, "refuse_by_policy", _no_policy),)),
    ),
    Attack(
        "isolation", _COORDINATOR, "drops all messages but one client's", "party",
        r"1 clients are left, below n_min 3; nothing was opened", _few(3, (VICTIM,)),
        Check("the count of clients at the close", (_FEW,)),
    ),
    Attack(
        "same-attempt", _COORDINATOR, "opens an attempt again from the recorded messages, less one client's", "party",
        r"was opened before; a sum is opened once", _replayed(False), ONCE,
    ),
    Attack(
        "after-restart", _COORDINATOR, "the same after every party was restarted", "party",
        r"was opened before; a sum is opened once", _replayed(True),
        Check("reading the journal at a party's start", ((Journal, "_read", lambda self: None),)),
    ),
    Attack(
        "replay-round", _COORDINATOR, "hands in messages recorded in round 1 again in round 2, less one client's",
        "party", r"a part for round 1 attempt 0 of run .*; open is round 2", _moved(round_=2), _HEADERS,
    ),
    Attack(
        "replay-attempt", _COORDINATOR, "hands in messages of attempt 0 again in attempt 1, less one client's", "party",
        r"a part for round 1 attempt 0 of run .*; open is round 1 attempt 1", _moved(attempt=1), _HEADERS,
    ),
    Attack(
        "replay-run", _COORDINATOR, "hands in messages of one run again in another, less one client's", "party",
        r"a part for round 1 .*; open is round 1 attempt 0 of run 'other'", _moved(run="other"), _HEADERS,
    ),
    Attack(
        "sets-shown", _COORDINATOR, "shows a client's part to one party and not to the other", "party",
        r"client 0 did not reach party 1", _different_sets_shown,
    ),
    Attack(
        "rounds-told", _COORDINATOR, "tells the parties different rounds, of which one compares nothing", "party",
        r"party \d did not join within", _different_rounds_told,
        Check("the label under which parties meet", ((state, "round_label", _no_label),), r"a part for other terms"),
    ),
)  # fmt: skip
assert CLIENTS >= 7
