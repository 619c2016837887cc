"""What must hold of a soak of clients: judged from the coordinator's log and the parties' journals, after it has ended.

An opened sum equals the sum of the clients that its set names. The set is the one that was written down before the
opening, and has n_min clients or more, in every journal too. No attempt is opened twice. Nothing takes for ever.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.soak.lines import without_numbers
from bench.soak.load import known_sum
from secagg.wire import ids_of

__all__ = ["faults_of", "openings_of_journal", "outcomes", "read_log"]

Line = dict[str, Any]


def read_log(path: Path) -> list[Line]:
    """The coordinator's lines, without one that was cut short."""
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.split("\n")[:-1]]


def openings_of_journal(path: Path) -> list[Line]:
    """What a party wrote down of its openings: round, attempt, clients."""
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return [
        {"round": one["round"], "attempt": one["attempt"], "clients": list(ids_of(one["clients"]))}
        for one in records
        if one["kind"] == "opened"
    ]


def faults_of(
    lines: Sequence[Line], journals: Sequence[Sequence[Line]], length: int, n_min: int, longest_s: float
) -> list[str]:
    """What did not hold, in words.

    Args:
        lines: of the coordinator's log.
        journals: each party's openings.
        length: of the vectors.
        n_min: fewest clients of an opened sum.
        longest_s: that an attempt may take.
    """
    found: list[str] = []
    opened = [line for line in lines if line["kind"] == "opened"]
    entered = {(line["round"], line["attempt"]): line["clients"] for line in lines if line["kind"] == "entry"}
    for line in opened:
        name = f"round {line['round']} attempt {line['attempt']}"
        expected = known_sum(line["clients"], line["round"], line["attempt"], length)
        if hashlib.sha256(expected.astype("<i8").tobytes()).hexdigest() != line["sum"]:
            found.append(f"{name}: the opened sum is not that of its {len(line['clients'])} clients")
        if entered.get((line["round"], line["attempt"])) != line["clients"]:
            found.append(f"{name}: the clients are not those that were written down before")
    written = {(line["round"], line["attempt"]): line["clients"] for line in opened}
    for who, openings in [("the coordinator", opened), *((f"party {rank}", j) for rank, j in enumerate(journals))]:
        for (number, attempt), times in Counter((line["round"], line["attempt"]) for line in openings).items():
            if times > 1:
                found.append(f"{who}: round {number} attempt {attempt} was opened {times} times")
        for line in openings:
            if len(line["clients"]) < n_min:
                found.append(f"{who}: round {line['round']} was opened over {len(line['clients'])} clients")
            agreed = entered.get((line["round"], line["attempt"]))
            if agreed != line["clients"]:
                found.append(f"{who}: round {line['round']} was opened over other clients than were agreed")
    for rank, openings in enumerate(journals):
        missing = written.keys() - {(line["round"], line["attempt"]) for line in openings}
        if missing:
            found.append(f"party {rank}: {len(missing)} opened sums are not in its journal, such as {min(missing)}")
    slow = [line for line in lines if line.get("seconds", 0.0) > longest_s]
    if slow:
        found.append(
            f"{len(slow)} attempts took longer than {longest_s:g} s, at most {max(s['seconds'] for s in slow)}"
        )
    return found


def outcomes(lines: Sequence[Line]) -> dict[str, Any]:
    """How rounds and attempts ended, with the sentences that refused them."""
    kinds = Counter(line["kind"] for line in lines)
    opened = [line for line in lines if line["kind"] == "opened"]
    sizes = sorted(len(line["clients"]) for line in opened)
    seconds = [line["seconds"] for line in lines if "seconds" in line]

    def sentences(kind: str) -> dict[str, int]:
        return dict(Counter(without_numbers(line["sentence"]) for line in lines if line["kind"] == kind).most_common())

    return {
        "rounds": kinds["opened"] + kinds["refused"] + kinds["given up"],
        "opened": kinds["opened"],
        "refused": kinds["refused"],
        "given_up": kinds["given up"],
        "attempts_failed": kinds["failed"],
        "opened_in_a_later_attempt": sum(line["attempt"] > 0 for line in opened),
        "clients_in_a_sum": {"least": sizes[0], "median": sizes[len(sizes) // 2], "most": sizes[-1]} if sizes else {},
        "messages_in_sums": sum(sizes),
        "messages_refused_by_parties": sum(line["left_out"] for line in opened),
        "longest_attempt_s": max(seconds, default=0.0),
        "refused_sentences": sentences("refused"),
        "failed_sentences": sentences("failed"),
        "notes": sentences("note"),
    }
