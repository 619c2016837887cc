"""A run folder has one writer, and no run in it is forgotten or mixed up with another."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fl_core.run_folder import RunFolder
from fl_core.storage import StorageError


def test_a_second_process_on_one_folder_is_refused(tmp_path):
    with RunFolder(tmp_path / "run"):
        code = "import sys, pathlib; from fl_core.run_folder import RunFolder; RunFolder(pathlib.Path(sys.argv[1]))"
        out = subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], capture_output=True, text=True)
        assert "is in use by another run" in out.stderr
    RunFolder(tmp_path / "run").close()


def test_a_folder_with_a_run_is_neither_overwritten_nor_mixed_up(tmp_path):
    with pytest.raises(StorageError, match="holds no run to resume"):
        RunFolder(tmp_path / "run", resume=True)
    with RunFolder(tmp_path / "run") as folder:
        folder.config_path.write_text("a: 1")
        folder.ledger_path.write_text("x")
        folder.page.write_text("<p>")
        for service in folder.services:
            service.mkdir()
    (tmp_path / "run" / "mine.txt").write_text("keep")
    with pytest.raises(StorageError, match="already holds a run; use --resume, --overwrite"):
        RunFolder(tmp_path / "run")
    with RunFolder(tmp_path / "run", overwrite=True) as folder:
        assert not folder.config_path.exists()
        assert not folder.ledger_path.exists()
        assert not any(place.exists() for place in (folder.page, *folder.services))
    assert (tmp_path / "run" / "mine.txt").read_text() == "keep"


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("left", ["", "x", "header\n"])
def test_a_run_that_died_before_its_configuration_was_written_is_begun_anew(tmp_path, left, overwrite):
    with RunFolder(tmp_path) as folder:
        folder.ledger_path.write_text(left)
    with pytest.raises(StorageError, match="holds no run to resume"):
        RunFolder(tmp_path, resume=True)
    assert (tmp_path / "ledger.jsonl").read_text() == left
    with RunFolder(tmp_path, overwrite=overwrite) as folder:
        assert not folder.ledger_path.exists()


def test_a_ledger_with_openings_is_never_forgotten_because_its_configuration_is_gone(tmp_path):
    with RunFolder(tmp_path) as folder:
        folder.ledger_path.write_text("header\nopening\n")
    with pytest.raises(StorageError, match="already holds a run"):
        RunFolder(tmp_path)
    with pytest.raises(StorageError, match="holds no run to resume"):
        RunFolder(tmp_path, resume=True)
    assert (tmp_path / "ledger.jsonl").read_text() == "header\nopening\n"


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        RunFolder(tmp_path / "file" / "run")


def test_no_run_begins_among_files_of_another_kind(tmp_path):
    (tmp_path / "train.jsonl").write_text("{}")
    with pytest.raises(StorageError, match="holds train.jsonl and is no run's folder"):
        RunFolder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["train.jsonl"]


def test_a_run_that_is_refused_before_its_ledger_leaves_nothing(tmp_path):
    with pytest.raises(StorageError, match="told so"), RunFolder(tmp_path / "runs" / "new"):
        raise StorageError("told so")
    assert not (tmp_path / "runs").exists()
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "a.log").write_text("mine")
    with pytest.raises(StorageError, match="told so"), RunFolder(tmp_path / "there"):
        raise StorageError("told so")
    assert {path.name for path in (tmp_path / "there").iterdir()} == {"a.log", ".lock"}
    with pytest.raises(StorageError, match="holds no run to resume"):
        RunFolder(tmp_path / "new", resume=True)
    assert not (tmp_path / "new").exists()


def test_a_run_that_fails_once_its_ledger_is_there_keeps_everything(tmp_path):
    with pytest.raises(StorageError, match="told so"), RunFolder(tmp_path / "new") as folder:
        folder.ledger_path.write_text("header")
        raise StorageError("told so")
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"ledger.jsonl", ".lock", "checkpoints", "figures"}


def test_drafts_of_a_killed_process_are_removed_and_nobody_elses_files(tmp_path):
    with RunFolder(tmp_path) as folder:
        folder.config_path.write_text("a: 1")
        folder.adapter.mkdir()
    drafts = [".config.yaml.tmp", ".summary.json.tmp", "checkpoints/.round-000003.safetensors.tmp"]
    drafts += ["figures/.accuracy.png.tmp", "adapter/.adapter_config.json.tmp", ".adapter.tmp/half"]
    for draft in drafts:
        (tmp_path / draft).parent.mkdir(exist_ok=True)
        (tmp_path / draft).write_text("half")
    (tmp_path / ".mine.tmp").write_text("keep")
    RunFolder(tmp_path, resume=True).close()
    assert [path.name for path in tmp_path.rglob(".*.tmp")] == [".mine.tmp"]


def test_a_folder_without_a_run_keeps_its_files(tmp_path):
    (tmp_path / ".summary.json.tmp").write_text("keep")
    RunFolder(tmp_path).close()
    assert (tmp_path / ".summary.json.tmp").read_text() == "keep"
