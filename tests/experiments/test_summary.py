"""A run's summary says what went other than planned on the way."""

from __future__ import annotations

from experiments.summary import _incidents, warnings_and_notes


def test_incidents_are_counted_and_a_clean_run_has_none():
    below = {"message": "round 2: 3 clients are left, below n_min 4; nothing was opened"}
    close = {"message": "round 4 attempt 0 of run 1234: its 9 clients differ by 1 from those of an earlier opening"}
    rows = [
        {"round": 1, "simulation/nonfinite": 2, "refused": 3},
        {"round": 2, "simulation/nonfinite": 1, **below},
        {"round": 3, "refused": 4},
        {"round": 4, **close},
        {"round": 5, **close},
    ]
    found = _incidents(rows, {"openings": 5, "rounds": 3})
    assert [text.split()[0] for text in found] == ["simulation:", "2", "1", "2", "7"]
    assert found[0].startswith("simulation: 3 contributions")
    assert "fewer than n_min" in found[2]
    assert "earlier opening of the same model" in found[3]
    assert "7 messages were refused" in found[4]
    assert _incidents([{"round": 1, "simulation/nonfinite": 0}], {"openings": 1, "rounds": 1}) == []


def test_what_must_be_said_is_said_once_and_the_ledgers_warnings_come_first():
    summary = {"privacy": {"warnings": ["seeded", "both"]}, "notes": ["a stand-in", "both"]}
    assert warnings_and_notes(summary) == ["seeded", "both", "a stand-in"]
