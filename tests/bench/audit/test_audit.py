"""The audit's command covers every possible setting, writes its table, and says when a planted fault is missed."""

from __future__ import annotations

import itertools
import json

import pytest

import bench.audit.__main__ as audit
from bench.audit.faults import FAULTS, Fault
from bench.audit.rounds import Audited, CanaryRounds, Setting
from bench.noise.privacy_grid import BY, MECHANISMS, SCHEMES, TRUSTS, UNITS, refusal

FEW = ["--only", "real", "skellam", "xnoise"]


def files(folder):
    return {path.name for path in folder.iterdir()}


def test_every_setting_that_the_configuration_allows_is_a_row_once():
    every = list(itertools.starmap(Setting, itertools.product(MECHANISMS, UNITS, TRUSTS, BY, SCHEMES, (1, 3), (0, 2))))
    possible = audit.possible_settings()
    assert [case.setting for case in audit.cases() if case.kind == "honest"] == possible
    assert len(set(possible)) == 120
    for setting in set(every) - set(possible):
        assert "allowed: " in refusal(setting.config)
    names = [case.name for case in audit.cases()]
    assert len(set(names)) == len(names)


def test_the_command_writes_a_table_of_claims_and_bounds_and_a_figure(tmp_path, capsys):
    assert audit.main(["--out", str(tmp_path), "--trials", "2", *FEW]) == 0
    assert files(tmp_path) == {"audit.json", "audit.md", "audit.png"}
    report = json.loads((tmp_path / "audit.json").read_text())
    assert report["command"] == "python -m bench.audit --out DIR --seed 1 --trials 2 --only real skellam xnoise"
    assert [row["vanished"] for row in report["rows"]] == [0, 2]
    for row in report["rows"]:
        assert (row["kind"], row["backend"], row["tried"], row["above_claim"]) == ("real parties", "smpc", 2, 0)
        assert 0 < min(row["bounds"]) <= row["bound"] <= max(row["bounds"]) < row["claimed"]
        assert row["ratio"] == row["bound"] / row["claimed"]
    page = (tmp_path / "audit.md").read_text()
    assert "**0 of 4 bounds are above their claim**" in page
    assert "smpc (real parties)" in page
    assert "2 of 2: real parties skellam distributed" in capsys.readouterr().err


def test_planted_faults_are_in_the_table_and_caught(tmp_path):
    assert audit.main(["--out", str(tmp_path), "--trials", "1", "--only", "planted", "example"]) == 0
    rows = json.loads((tmp_path / "audit.json").read_text())["rows"]
    assert [row["fault"] for row in rows] == [fault.name for fault in FAULTS if fault.setting.unit == "example"]
    assert all(row["caught"] == 1 and row["bound"] > row["claimed"] for row in rows)
    assert f"Caught: {len(rows)} of {len(rows)}" in (tmp_path / "audit.md").read_text()


def honest(setting, folder, seed):
    played = CanaryRounds(setting, folder, seed)
    return played.audited(played.play())


def test_a_planted_fault_that_is_not_caught_once_is_exit_code_1(tmp_path, monkeypatch):
    def once_in_two(setting, folder, seed):
        return FAULTS[0].play(setting, folder, seed) if seed % 2 else honest(setting, folder, seed)

    monkeypatch.setattr(audit, "FAULTS", (Fault("shows every other time", FAULTS[0].setting, once_in_two),))
    assert audit.main(["--out", str(tmp_path), "--trials", "1", "--seed", "1", "--only", "planted"]) == 0
    assert audit.main(["--out", str(tmp_path), "--trials", "2", "--seed", "1", "--only", "planted"]) == 1
    assert "NO, 1 of 2" in (tmp_path / "audit.md").read_text()


def test_a_bound_above_its_claim_is_exit_code_1(tmp_path, monkeypatch):
    monkeypatch.setattr(CanaryRounds, "audited", lambda played, scores: Audited(claimed=1.0, bound=1.01))
    arguments = ["--out", str(tmp_path), "--trials", "1", "--only", "rounds", "skellam"]
    assert audit.main(arguments) == 1
    assert "**1 of 1 bounds are above their claim**" in (tmp_path / "audit.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--only", "planted", "nothing-like-it"], "no row has all of the words planted nothing-like-it in its name"),
        (["--trials", "0"], "--trials is 0; allowed: 1 or more"),
    ],
)
def test_arguments_that_make_no_table_are_a_sentence_and_exit_code_2(tmp_path, capsys, arguments, sentence):
    with pytest.raises(SystemExit) as ended:
        audit.main(["--out", str(tmp_path), *arguments])
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err
    assert files(tmp_path) == set()
