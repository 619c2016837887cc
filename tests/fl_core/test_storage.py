"""Run folders, checkpoints and metrics: whole or absent, one writer, and damage is named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from fl_core import run_folder
from fl_core.checkpoint import Checkpoint, latest_checkpoint, save_checkpoint
from fl_core.environment import EnvironmentProblem, check_environment
from fl_core.optimizers import OptimizerState
from fl_core.run_folder import RunFolder, StorageError, lock_folder, write_atomically
from fl_core.tracking import RunTracker, read_metrics, summary_writer


def checkpoint(round_):
    moments = torch.randn(4, dtype=torch.float64)
    return Checkpoint(round_, torch.randn(4), OptimizerState(moments, moments + 1, round_), round_ + 1, "ab" * 32)


def test_a_second_process_on_one_folder_is_refused(tmp_path):
    with RunFolder(tmp_path / "run"):
        code = "import sys, pathlib; from fl_core.run_folder import RunFolder; RunFolder(pathlib.Path(sys.argv[1]))"
        out = subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], capture_output=True, text=True)
        assert "is in use by another run" in out.stderr
    RunFolder(tmp_path / "run").close()


def test_a_lock_is_held_until_it_is_closed_and_makes_the_folder(tmp_path):
    lock = lock_folder(tmp_path / "new" / "run")
    with pytest.raises(StorageError, match="is in use by another run; wait for it or choose another --out"):
        lock_folder(tmp_path / "new" / "run")
    lock_folder(tmp_path / "new" / "other").close()
    lock.close()
    lock_folder(tmp_path / "new" / "run").close()


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


@pytest.mark.parametrize("broken", ["write", "fsync", "replace"])
def test_an_atomic_write_that_fails_leaves_the_old_content_and_no_litter(tmp_path, monkeypatch, broken):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    if broken == "write":
        monkeypatch.setattr(run_folder.Path, "open", full)
    else:
        monkeypatch.setattr(os, broken, full)
    with pytest.raises(StorageError, match="No space left on device; what was written before is intact"):
        write_atomically(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["file"]


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


def test_new_folders_are_on_the_disk_before_anything_is_in_them(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(run_folder, "_sync_folder", synced.append)
    lock_folder(tmp_path / "runs" / "first").close()
    assert set(synced) == {tmp_path, tmp_path / "runs"}
    synced.clear()
    lock_folder(tmp_path / "runs" / "first").close()
    assert synced == []


def test_a_full_disk_is_a_sentence_on_a_real_full_disk(tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full on this system")
    full = open("/dev/full", "wb", buffering=0)  # noqa: SIM115 (closed below, its write must fail inside the other block)
    with pytest.raises(StorageError, match="No space left on device"), run_folder.storage_errors(tmp_path):
        full.write(b"x")
    full.close()


def test_the_newest_checkpoint_comes_back_exactly_and_two_are_kept(tmp_path):
    saved = [checkpoint(round_) for round_ in (1, 2, 10)]
    for item in saved:
        save_checkpoint(tmp_path, item)
    found = latest_checkpoint(tmp_path)
    assert found.round == 10
    assert torch.equal(found.theta, saved[-1].theta)
    assert torch.equal(found.optimizer.second, saved[-1].optimizer.second)
    assert (found.ledger_lines, found.ledger_head) == (11, "ab" * 32)
    assert len(list(tmp_path.iterdir())) == 2


def test_no_checkpoint_is_none(tmp_path):
    assert latest_checkpoint(tmp_path) is None


@pytest.mark.parametrize("damage", [b"", b"garbage" * 100, "cut", "flip"])
def test_a_damaged_checkpoint_is_named_and_executes_nothing(tmp_path, damage):
    save_checkpoint(tmp_path, checkpoint(3))
    path = next(tmp_path.iterdir())
    content = path.read_bytes()
    if damage == "cut":
        damage = content[:-5]
    elif damage == "flip":
        damage = content.replace(b"optimizer_steps", b"optimizer_stepz")
    path.write_bytes(damage)
    with pytest.raises(StorageError, match=r"round-000003.safetensors is damaged"):
        latest_checkpoint(tmp_path)


def test_metrics_after_the_checkpoint_are_dropped_on_resume(tmp_path):
    with RunFolder(tmp_path) as folder:
        tracker = RunTracker(folder, 0)
        for round_ in range(4):
            tracker.record({"round": round_, "accuracy": 0.5})
        tracker.close()
        again = RunTracker(folder, 2)
        again.record({"round": 3, "accuracy": 0.75})
        again.close()
        assert [(r["round"], r["accuracy"]) for r in read_metrics(folder.metrics_path)] == [
            (0, 0.5),
            (1, 0.5),
            (2, 0.5),
            (3, 0.75),
        ]
        assert list(folder.tensorboard.glob("events.*"))


def test_a_torn_last_metrics_line_is_left_out_and_other_damage_is_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"round": 0}\n{"round": 1')
    assert read_metrics(path) == [{"round": 0}]
    path.write_text('{"round": 0}\n{"rou\n{"round": 2}\n')
    with pytest.raises(StorageError, match="line 2 is not JSON"):
        read_metrics(path)
    assert read_metrics(tmp_path / "absent") == []


def test_a_row_that_could_not_be_written_comes_back_before_the_checkpoint_and_once(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    with RunFolder(tmp_path) as folder:
        tracker = RunTracker(folder, 0)
        tracker.record({"round": 0})
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="No space left on device"):
            tracker.record({"round": 1})
        with pytest.raises(StorageError, match="No space left on device"):
            tracker.settle()
        monkeypatch.undo()
        tracker.settle()
        tracker.settle()
        tracker.close()
        assert read_metrics(folder.metrics_path) == [{"round": 0}, {"round": 1}]


def test_rows_that_a_full_disk_kept_back_are_written_whole_with_the_next_one(tmp_path, monkeypatch):
    def torn(descriptor):
        os.ftruncate(descriptor, 20)
        raise OSError(28, "No space left on device")

    with RunFolder(tmp_path) as folder:
        tracker = RunTracker(folder, 0)
        tracker.record({"round": 0})
        for round_ in (1, 2):
            with monkeypatch.context() as full:
                full.setattr(os, "fsync", torn)
                with pytest.raises(StorageError, match="No space left on device"):
                    tracker.record({"round": round_, "accuracy": 0.5})
        tracker.record({"round": 3})
        tracker.close()
        assert [row["round"] for row in read_metrics(folder.metrics_path)] == [0, 1, 2, 3]
        assert tracker.recorded == 4


def test_a_tracker_holds_no_row_that_is_on_the_disk(tmp_path):
    with RunFolder(tmp_path) as folder:
        tracker = RunTracker(folder, 0)
        for round_ in range(3):
            tracker.record({"round": round_, "accuracy": 0.5})
        holders = [tracker._file, tracker._all[1]]
        held = [v for holder in holders for v in vars(holder).values() if isinstance(v, list | dict | tuple) and v]
        tracker.close()
        assert held == []


def test_a_full_disk_below_tensorboard_is_a_sentence_and_no_traceback(tmp_path, monkeypatch, capfd):
    def full(*_):
        raise OSError(28, "No space left on device")

    with RunFolder(tmp_path) as folder:
        tracker = RunTracker(folder, 0)
        tracker.record({"round": 0, "accuracy": 0.5})
        monkeypatch.setattr("tensorboard.summary.writer.record_writer.RecordWriter.write", full)
        monkeypatch.setattr("tensorboard.summary.writer.record_writer.RecordWriter.flush", full)
        with pytest.raises(StorageError, match="tensorboard cannot be written: No space left on device"):
            for round_ in range(1, 1000):
                tracker.record({"round": round_, "accuracy": 0.5})
        with pytest.raises(StorageError, match="tensorboard cannot be written"):
            tracker.close()
    assert "Traceback" not in capfd.readouterr().err


def test_other_threads_errors_are_still_shown(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)  # pytest has its own
    summary_writer(tmp_path, 0).close()
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_another_package_called_kernels_is_refused_with_what_to_do(monkeypatch):
    check_environment()
    monkeypatch.setattr("fl_core.environment.metadata.version", lambda name: "0.12.1")
    with pytest.raises(EnvironmentProblem, match=r"'kernels' 0.12.1 .*pip uninstall kernels"):
        check_environment()


@pytest.mark.parametrize("where", range(0, 100, 7))
def test_a_bit_that_flipped_in_a_checkpoint_is_found(tmp_path, where):
    save_checkpoint(tmp_path, checkpoint(3))
    file = next(tmp_path.glob("round-*"))
    content = bytearray(file.read_bytes())
    content[-1 - where] ^= 1  # of adapter or moments: every one of them is a good number still
    file.write_bytes(content)
    with pytest.raises(StorageError, match="round-000003.safetensors is damaged"):
        latest_checkpoint(tmp_path)


def test_a_checkpoint_of_an_earlier_sotto_without_a_digest_is_read(tmp_path):
    whole = checkpoint(3)
    tensors = {"theta": whole.theta, "first": whole.optimizer.first, "second": whole.optimizer.second}
    facts = {"round": 3, "optimizer_steps": 3, "ledger_lines": 4, "ledger_head": "ab" * 32}
    save_file(tensors, tmp_path / "round-000003.safetensors", {"sotto": json.dumps(facts)})
    assert torch.equal(latest_checkpoint(tmp_path).theta, whole.theta)


@pytest.mark.parametrize("facts", ["[" * 100_000, '{"round": 1e999}', "[]", "null", '{"a":' * 100_000])
def test_facts_that_no_run_wrote_are_damage(tmp_path, facts):
    moments = torch.zeros(4, dtype=torch.float64)
    tensors = {"theta": torch.zeros(4), "first": moments, "second": moments.clone()}
    save_file(tensors, tmp_path / "round-000001.safetensors", {"sotto": facts})
    with pytest.raises(StorageError, match="is damaged"):
        latest_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [{"round": -1}, {"round": 2**70}, {"theta": torch.zeros(2, 2)}, {"theta": torch.zeros(4, dtype=torch.float64)},
     {"optimizer": OptimizerState(torch.full((4,), float("nan"), dtype=torch.float64),
                                  torch.zeros(4, dtype=torch.float64), 1)}],
)  # fmt: skip
def test_counts_and_tensors_that_no_run_has_are_refused(tmp_path, changes):
    save_checkpoint(tmp_path, replace(checkpoint(1), **changes))
    with pytest.raises(StorageError, match="remove it"):
        latest_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "line", ["[]", "5", '{"accuracy": 1}', '{"round": "1"}', '{"round": 1, "x": NaN}', "[" * 100_000]
)
def test_a_line_of_metrics_that_is_no_row_is_named(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"round": 0}\n' + line + "\n")
    with pytest.raises(StorageError, match="metrics.jsonl line 2 is not JSON of a round"):
        read_metrics(path)
    path.write_bytes(b"\xff\n")
    with pytest.raises(StorageError, match="line 1 is not JSON"):
        read_metrics(path)
