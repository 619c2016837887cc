"""A full disk or a ledger that lost lines is a sentence, and no round that is done loses its row."""

from __future__ import annotations

import os

import pytest

from fl_core.checkpoint import latest_checkpoint
from fl_core.privacy.ledger import LedgerError, read_ledger
from fl_core.storage import StorageError
from fl_core.tracking import MetricsFile, read_metrics
from secagg.errors import SottoError
from tests.fl_core.engines.scripted import Stop, stop_after
from tests.fl_core.tiny import run_tiny, tiny_config


def test_a_resumed_run_refuses_a_ledger_that_lost_lines(tmp_path):
    config = tiny_config()
    with pytest.raises(Stop):
        run_tiny(tmp_path / "run", config, on_round=stop_after(4))
    path = tmp_path / "run" / "ledger.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:3]))
    with pytest.raises(LedgerError, match="line 4: is missing"):
        run_tiny(tmp_path / "run", config, resume=True)


def test_a_full_disk_while_writing_metrics_is_a_sentence_and_the_run_can_go_on(tmp_path, monkeypatch):
    config = tiny_config()
    real, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == 14:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SottoError, match="No space left on device"):
        run_tiny(tmp_path / "run", config)
    monkeypatch.setattr(os, "fsync", real)
    ended, engine = run_tiny(tmp_path / "run", config, resume=True)
    assert ended == "all rounds done"
    assert engine.state.round == 6


def test_a_round_whose_row_met_a_full_disk_has_it_once_the_checkpoint_could_be_written(tmp_path, monkeypatch):
    config, real = tiny_config(), MetricsFile.record

    def record(self, row):
        before = self._length
        real(self, row)
        if row["round"] == 3:
            line = self._path.read_bytes()[before:]
            self._path.write_bytes(self._path.read_bytes()[:-20])
            self._length, self._pending = before, [line]
            raise StorageError("metrics.jsonl cannot be written: No space left on device")

    monkeypatch.setattr(MetricsFile, "record", record)
    with pytest.raises(StorageError, match="No space left on device"):
        run_tiny(tmp_path / "run", config)
    monkeypatch.undo()
    assert latest_checkpoint(tmp_path / "run" / "checkpoints").round == 3
    assert [row["round"] for row in read_metrics(tmp_path / "run" / "metrics.jsonl")] == [0, 1, 2, 3]
    run_tiny(tmp_path / "run", config, resume=True)
    assert [row["round"] for row in read_metrics(tmp_path / "run" / "metrics.jsonl")] == list(range(7))
    assert len(read_ledger(tmp_path / "run" / "ledger.jsonl").openings) == 6
