"""Runs are read from their folders or from a report's numbers, and nothing else is taken for one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.stored_runs import ledgers_of, load_runs
from secagg.errors import SottoError
from tests.experiments.stored_run import run


def test_a_folder_without_a_finished_run_is_a_sentence(tmp_path):
    with pytest.raises(SottoError, match="holds no finished run"):
        load_runs([tmp_path])


@pytest.mark.parametrize("content", [b"[1]", b"\x89PNG" + bytes(4000), b"{"])
def test_another_file_is_no_report(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(SottoError, match="is no runs.json that a report wrote") as refusal:
        load_runs([tmp_path / "x.json"])
    assert len(str(refusal.value)) < 400


def test_a_run_goes_by_its_folders_name_from_wherever_it_is_named(tmp_path, monkeypatch):
    folder = tmp_path / "one"
    (folder / "figures").mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps(run("one", 0.2)[2]))
    for place, given in ((tmp_path, "one"), (folder, "."), (folder / "figures", "..")):
        monkeypatch.chdir(place)
        ((name, rows, _),) = load_runs([Path(given)])
        assert (name, rows) == ("one", [])
        assert list(ledgers_of([Path(given)])) == ["one"]
