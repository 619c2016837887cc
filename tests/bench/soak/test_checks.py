"""What must hold of openings is found where it does not, in the coordinator's log and in journals."""

from __future__ import annotations

import hashlib
import json

from bench.soak.checks import faults_of, openings_of_journal, outcomes
from bench.soak.load import known_sum


def line(kind, number, attempt=0, clients=(0, 1, 2), wrong=0):
    facts = {"kind": kind, "round": number, "attempt": attempt, "clients": list(clients), "seconds": 0.1, "left_out": 0}
    total = known_sum(clients, number, attempt, 8) + wrong
    return facts | {"sum": hashlib.sha256(total.tobytes()).hexdigest()}


def faults(lines, journal=None, longest=5.0):
    opened = [one for one in lines if one["kind"] == "opened"]
    return faults_of(lines, [opened if journal is None else journal], 8, 3, longest)


def test_rounds_as_they_should_be_have_no_faults():
    assert faults([line("entry", 1), line("opened", 1), line("entry", 2, 1), line("opened", 2, 1)]) == []


def test_what_must_hold_of_openings_is_found_where_it_does_not():
    good = [line("entry", 1), line("opened", 1)]
    assert "is not that of its 3 clients" in faults([line("entry", 1), line("opened", 1, wrong=1)])[0]
    assert "opened 2 times" in faults([*good, line("opened", 1)])[0]
    assert "opened 2 times" in faults(good, [line("opened", 1), line("opened", 1)])[0]
    below = [line("entry", 1, clients=(0, 1)), line("opened", 1, clients=(0, 1))]
    assert "opened over 2 clients" in faults(below)[0]
    assert "not those that were written down before" in faults([line("entry", 1, clients=(0, 1, 3)), good[1]])[0]
    assert "not in its journal" in faults(good, [])[0]
    assert "other clients than were agreed" in faults(good, [*good[1:], line("opened", 2)])[0]
    assert "took longer than 0.05 s" in faults(good, longest=0.05)[0]


def test_outcomes_count_sentences_by_kind_and_not_by_number():
    lines = [
        *(line("refused", number) | {"sentence": f"round {number}: 2 clients are left"} for number in (1, 2)),
        line("opened", 3, 1),
        line("failed", 3) | {"sentence": "party 2 of 3 ended"},
    ]
    found = outcomes(lines)
    assert found["refused_sentences"] == {"round N: N clients are left": 2}
    assert (found["rounds"], found["opened"], found["attempts_failed"]) == (3, 1, 1)
    assert found["opened_in_a_later_attempt"] == 1


def test_a_journal_is_read_as_openings_alone(tmp_path):
    opened = {"kind": "opened", "run": "r", "round": 1, "attempt": 2, "model": "", "clients": [[0, 2], [5, 6]]}
    path = tmp_path / "journal"
    path.write_text(json.dumps(opened) + "\n" + json.dumps({"kind": "refused", "reason": "no"}) + "\n")
    assert openings_of_journal(path) == [{"round": 1, "attempt": 2, "clients": [0, 1, 5]}]
