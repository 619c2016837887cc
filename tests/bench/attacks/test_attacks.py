"""The attack table is right about what it says, and notices a check that is gone, idle or admitted nowhere."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import bench.attacks.__main__ as attacks
from bench.attacks.__main__ import ATTACKS, main
from bench.attacks.attack import Attack, Check, Outcome, try_attack
from secagg.openings import Openings
from secagg.party import state

RECORDED = Path(__file__).resolve().parents[3] / "bench" / "results" / "reliability"
# Of every kind one or two; the others take half a minute more.
FEW = [
    "superset", "series", "low-minimum", "after-restart", "replay-round", "sets-shown", "forged", "no-noise", "twice",
    "wrong-share", "party-as-coordinator", "nan", "huge", "subtracted", "rewritten", "cut-back",
]  # fmt: skip
GONE = lambda self, spec, clients, least=None: None  # noqa: E731


@pytest.mark.parametrize("name", FEW)
def test_an_attack_goes_as_the_table_says(tmp_path, name):
    row = try_attack(ATTACKS[name], tmp_path)
    assert row["held"], row["why_not"]
    assert row["caught"] == (ATTACKS[name].by != "nobody")


@pytest.mark.slow
def test_all_attacks_go_as_the_table_says(tmp_path):
    assert main(["--out", str(tmp_path)]) == 0


def test_an_attack_that_wins_because_a_check_is_gone_is_not_held(tmp_path, monkeypatch):
    monkeypatch.setattr(Openings, "refuse_close_sets", GONE)
    row = try_attack(ATTACKS["superset"], tmp_path)
    assert not row["held"]
    assert not row["caught"]
    assert row["why_not"][0] == "the attack won"


def test_a_broken_product_is_exit_code_1_and_on_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr(state, "refuse_by_policy", lambda spec, deployment: None)
    assert main(["--out", str(tmp_path), "--only", "low-minimum"]) == 1
    assert "* low-minimum: the attack won" in (tmp_path / "attacks.md").read_text()


MADE_UP = Attack(
    "made-up", "nobody", "does nothing", "party", "refused", lambda folder: Outcome(False, "nothing", ("refused",))
)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, []),
        ({"says": "another sentence"}, ["said ('refused',); expected 'another sentence'"]),
        ({"run": lambda folder: Outcome(True, "all", ("refused",))}, ["the attack won"]),
        (
            {"check": Check("an idle check", ((Openings, "refuse_close_sets", GONE),))},
            ["with an idle check taken away it did not win: nothing, ('refused',)"],
        ),
        (
            {"check": Check("an idle check", ((Openings, "refuse_close_sets", GONE),), "a second check")},
            ["with an idle check taken away: nothing, ('refused',)"],
        ),
        (
            {"by": "nobody", "says": "words that no document has", "document": "SECURITY.md"},
            [
                "it did not win, though it is said to",
                "SECURITY.md no longer says: words that no document has",
            ],
        ),
    ],
)
def test_what_is_not_as_claimed_is_named(tmp_path, changes, why):
    row = try_attack(replace(MADE_UP, **changes), tmp_path)
    assert row["why_not"] == why
    assert row["held"] == (not why)


def test_a_check_is_back_after_it_was_taken_away(tmp_path):
    honest = Openings.refuse_close_sets
    try_attack(ATTACKS["subset"], tmp_path)
    assert Openings.refuse_close_sets is honest


def test_the_command_writes_both_files_and_keeps_rows_that_it_does_not_try(tmp_path):
    assert main(["--out", str(tmp_path), "--only", "edited"]) == 0
    assert main(["--out", str(tmp_path), "--only", "truncated"]) == 0
    part = json.loads((tmp_path / "attacks.json").read_text())
    assert list(part["rows"]) == ["edited", "truncated"]
    assert part["rows"]["edited"]["command"] == "python -m bench.attacks --out DIR --only edited"
    page = (tmp_path / "attacks.md").read_text()
    assert "2 of 2 attacks were caught" in page
    assert "is missing; there once were 7 lines" in page


def test_an_attack_that_there_is_none_is_exit_code_2(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--out", str(tmp_path), "--only", "nothing"])
    assert ended.value.code == 2
    assert "invalid choice: 'nothing'" in capsys.readouterr().err


def test_no_two_attacks_have_one_name():
    assert len(ATTACKS) == sum(len(module.ATTACKS) for module in attacks._MODULES)


def test_the_recorded_table_is_of_these_attacks_and_all_held():
    rows = json.loads((RECORDED / "attacks.json").read_text())["rows"]
    assert list(rows) == list(ATTACKS)
    assert all(row["held"] for row in rows.values())
