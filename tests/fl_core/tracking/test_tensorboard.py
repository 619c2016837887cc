"""A full disk below TensorBoard's events is a sentence; other threads' errors are shown as ever."""

from __future__ import annotations

import threading

import pytest

from fl_core.run_folder import RunFolder
from fl_core.storage import StorageError
from fl_core.tracking import RunTracker, summary_writer


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
