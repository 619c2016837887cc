"""The ledger is verified when the page is made: a fault is found, named, and no machine's paths are told."""

from __future__ import annotations

import copy
import shutil

import pytest

from experiments.html_report.ledger_check import check_ledger
from tests.experiments.html_report.sample import sample_run


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "own"
    return folder, sample_run(folder)[2]


def test_a_whole_chain_that_bears_out_the_summary_is_intact(made):
    folder, summary = made
    found = check_ledger(folder / "ledger.jsonl", summary)
    assert (found.verdict, found.lines, found.head) == ("intact", 7, summary["privacy"]["head"])


@pytest.mark.parametrize("line", [1, 4, 7])
def test_a_changed_byte_is_named_by_its_line_and_without_the_folder(made, tmp_path, line):
    folder, summary = made
    lines = (folder / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    lines[line - 1] = lines[line - 1].replace(b"1", b"2", 1)
    (tmp_path / "ledger.jsonl").write_bytes(b"".join(lines))
    found = check_ledger(tmp_path / "ledger.jsonl", summary)
    assert found.verdict == "fault"
    assert f"line {line}" in found.sentence
    assert str(tmp_path) not in found.sentence


def test_a_forgotten_tail_is_found_by_the_summarys_head(made, tmp_path):
    folder, summary = made
    lines = (folder / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "ledger.jsonl").write_bytes(b"".join(lines[:-1]))
    found = check_ledger(tmp_path / "ledger.jsonl", summary)
    assert (found.verdict, found.lines) == ("fault", 6)
    assert "not the one that the summary was made from (7 lines)" in found.sentence


@pytest.mark.parametrize("epsilon", [1.0, None])
def test_an_epsilon_that_does_not_follow_from_the_ledger_is_a_fault(made, epsilon):
    folder, summary = made
    changed = copy.deepcopy(summary)
    changed["privacy"]["views"]["release"]["epsilon"] = epsilon
    found = check_ledger(folder / "ledger.jsonl", changed)
    assert found.verdict == "fault"
    assert f"the summary says {epsilon}" in found.sentence


def test_a_missing_ledger_is_a_fault_and_a_runs_json_has_none(made, tmp_path):
    folder, summary = made
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "ledger.jsonl").unlink()
    assert check_ledger(tmp_path / "copy" / "ledger.jsonl", summary).sentence.startswith("The ledger is missing: copy")
    absent = check_ledger(None, summary)
    assert absent.verdict == "absent"
    assert "runs.json" in absent.sentence
