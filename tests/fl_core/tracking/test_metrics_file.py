"""Every round has one row on the disk, whatever the disk did in between."""

from __future__ import annotations

import os

import pytest

from fl_core.run_folder import RunFolder
from fl_core.storage import StorageError
from fl_core.tracking import MetricsFile, RunTracker, read_metrics


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


def test_numbers_are_added_to_the_last_row_and_to_no_other(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    file = MetricsFile(tmp_path / "metrics.jsonl", 0)
    for number in range(3):
        file.record({"round": number, "survivors": 8})
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="No space left on device"):
            file.add({"accuracy": 0.5})
    assert "accuracy" not in read_metrics(tmp_path / "metrics.jsonl")[2]
    file.add({"accuracy": 0.5})
    file.record({"round": 3, "survivors": 7})
    assert read_metrics(tmp_path / "metrics.jsonl") == [
        {"round": 0, "survivors": 8},
        {"round": 1, "survivors": 8},
        {"round": 2, "survivors": 8, "accuracy": 0.5},
        {"round": 3, "survivors": 7},
    ]
