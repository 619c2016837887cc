"""One attack as data, and how it is tried: on the product as it is, and with the one check taken away.

An attack says by itself whether it won, by comparing what it got with the secret or the truth. It is held if the
product as it is refuses it with the sentence that is expected, and if it wins once the check that made the refusal is
taken away: a check that an attack never needed to pass would show nothing. What nobody stops must win as it is, and the
document that admits it must still say so.
"""

from __future__ import annotations

import re
import unittest.mock
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.places import ROOT
from bench.records import Row

__all__ = ["EXACT", "NOTHING", "VICTIM", "Attack", "Check", "Outcome", "try_attack"]

VICTIM = 0  # the client whose vector attackers want
EXACT, NOTHING = "client 0's exact vector", "nothing"


@dataclass(frozen=True)
class Outcome:
    """What came of one try.

    Attributes:
        won: whether the attacker has what it wanted.
        gained: what it has, in words with figures.
        said: what it was told, and what parties wrote into their journals; empty if nobody objected.
    """

    won: bool
    gained: str
    said: tuple[str, ...] = ()


@dataclass(frozen=True)
class Check:
    """A check that can be taken away.

    Attributes:
        name: what is taken away.
        patches: (object, attribute, replacement), all at once.
        then: what happens without it: "won", or the sentence (a pattern) of the check behind it that holds alone.
    """

    name: str
    patches: tuple[tuple[Any, str, Any], ...]
    then: str = "won"


@dataclass(frozen=True)
class Attack:
    """One row of the table.

    Attributes:
        name: short, for `--only`.
        attacker: who.
        tries: what it does, in words.
        by: who catches it; "nobody" if it is not protected.
        says: pattern of the sentence that it meets; for what nobody catches, the words of the document that admits it.
        run: the attack, given a folder of its own.
        check: what made the refusal; None if it was not tried without.
        document: where `says` stands, for what nobody catches.
    """

    name: str
    attacker: str
    tries: str
    by: str
    says: str
    run: Callable[[Path], Outcome]
    check: Check | None = None
    document: str = ""


def try_attack(attack: Attack, scratch: Path) -> Row:
    """The row of one attack; `held` says whether all is as the table claims, `why_not` what is not."""
    found = _run(attack, scratch / "as-built")
    unprotected = attack.by == "nobody"
    why_not = _not_admitted(attack, found) if unprotected else _not_caught(attack, found)
    without = "not tried"
    if attack.check is not None:
        without, more = _without(attack, attack.check, scratch / "without")
        why_not += more
    return {
        "attacker": attack.attacker,
        "tries": attack.tries,
        "caught": not found.won,
        "by": attack.by,
        "sentence": attack.says if unprotected else _matching(attack.says, found),
        "gained": found.gained,
        "check": attack.check and attack.check.name,
        "without": without,
        "document": attack.document,
        "held": not why_not,
        "why_not": why_not,
    }


def _not_caught(attack: Attack, found: Outcome) -> list[str]:
    """What is not as it is said of an attack that somebody catches."""
    why_not = ["the attack won"] if found.won else []
    return why_not if _matching(attack.says, found) else [*why_not, f"said {found.said}; expected {attack.says!r}"]


def _not_admitted(attack: Attack, found: Outcome) -> list[str]:
    """What is not as it is said of an attack that nobody catches."""
    why_not = [] if found.won else ["it did not win, though it is said to"]
    said = " ".join((ROOT / attack.document).read_text().split())
    return why_not if attack.says in said else [*why_not, f"{attack.document} no longer says: {attack.says}"]


def _without(attack: Attack, check: Check, folder: Path) -> tuple[str, list[str]]:
    """What the attack gains once the check is taken away, and what of that is not as it is said."""
    with ExitStack() as away:
        for target, name, replacement in check.patches:
            away.enter_context(unittest.mock.patch.object(target, name, replacement))
        bare = _run(attack, folder)
    if check.then == "won":
        wrong = f"with {check.name} taken away it did not win: {bare.gained}, {bare.said}"
        return bare.gained, [] if bare.won else [wrong]
    behind = _matching(check.then, bare)
    held = behind and not bare.won
    wrong = f"with {check.name} taken away: {bare.gained}, {bare.said}"
    return f"nothing more, a second check holds: {behind}", [] if held else [wrong]


def _matching(pattern: str, outcome: Outcome) -> str:
    """The first sentence that matches, or nothing."""
    return next((sentence for sentence in outcome.said if re.search(pattern, sentence)), "")


def _run(attack: Attack, folder: Path) -> Outcome:
    """One try, in a folder whose name the sentences leave out."""
    folder.mkdir(parents=True)
    found = attack.run(folder)
    return replace(found, said=tuple(sentence.replace(f"{folder}/", "") for sentence in found.said))
