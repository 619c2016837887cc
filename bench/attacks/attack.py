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


def try_attack(attack: Attack, scratch: Path) -> dict[str, Any]:
    """The row of one attack; `held` says whether all is as the table claims, `why_not` what is not."""
    why_not: list[str] = []
    found = _run(attack, scratch / "as-built")
    row: dict[str, Any] = {
        "attacker": attack.attacker,
        "tries": attack.tries,
        "caught": not found.won,
        "by": attack.by,
        "sentence": _matching(attack.says, found),
        "gained": found.gained,
        "check": None,
        "without": "not tried",
        "document": attack.document,
    }
    if attack.by == "nobody":
        said = " ".join((ROOT / attack.document).read_text().split())
        if not found.won:
            why_not.append("it did not win, though it is said to")
        if attack.says not in said:
            why_not.append(f"{attack.document} no longer says: {attack.says}")
        row["sentence"] = attack.says
    else:
        if found.won:
            why_not.append("the attack won")
        if not _matching(attack.says, found):
            why_not.append(f"said {found.said}; expected {attack.says!r}")
    if attack.check is not None:
        row["check"] = attack.check.name
        with ExitStack() as away:
            for target, name, replacement in attack.check.patches:
                away.enter_context(unittest.mock.patch.object(target, name, replacement))
            bare = _run(attack, scratch / "without")
        if attack.check.then == "won":
            row["without"] = bare.gained
            if not bare.won:
                why_not.append(f"with {attack.check.name} taken away it did not win: {bare.gained}, {bare.said}")
        else:
            behind = _matching(attack.check.then, bare)
            row["without"] = f"nothing more, a second check holds: {behind}"
            if bare.won or not behind:
                why_not.append(f"with {attack.check.name} taken away: {bare.gained}, {bare.said}")
    return {**row, "held": not why_not, "why_not": why_not}


def _matching(pattern: str, outcome: Outcome) -> str:
    """The first sentence that matches, or nothing."""
    return next((sentence for sentence in outcome.said if re.search(pattern, sentence)), "")


def _run(attack: Attack, folder: Path) -> Outcome:
    """One try, in a folder whose name the sentences leave out."""
    folder.mkdir(parents=True)
    found = attack.run(folder)
    return replace(found, said=tuple(sentence.replace(f"{folder}/", "") for sentence in found.said))
