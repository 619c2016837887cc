"""A run folder at the run's end: the summary comes last, so that a folder that has one has everything."""

from __future__ import annotations

import pytest

from experiments import figures, runs
from fl_core.run_folder import StorageError
from tests.fl_core.tiny import tiny_config, tiny_task


class Silent:
    def say(self, text): ...

    def note(self, text): ...

    def round(self, report): ...


@pytest.fixture
def execute(tmp_path, monkeypatch):
    """Runs the tiny task in `tmp_path/run`."""
    monkeypatch.setattr(runs, "build_task", lambda config, on_progress: tiny_task(config))
    return lambda resume: runs.execute(tiny_config("federation.rounds=2"), tmp_path / "run", resume, False, Silent())


def test_a_run_whose_figure_met_a_full_disk_has_not_ended_until_it_is_resumed(execute, tmp_path, monkeypatch):
    def full(path, data):
        raise StorageError(f"{path} cannot be written: No space left on device")

    run = tmp_path / "run"
    monkeypatch.setattr(figures, "write_atomically", full)
    with pytest.raises(StorageError, match="accuracy.png cannot be written"):
        execute(False)
    monkeypatch.undo()
    assert not (run / "summary.json").exists()
    assert not list((run / "figures").iterdir())
    monkeypatch.setattr(runs, "build_task", lambda config, on_progress: tiny_task(config))
    execute(True)
    assert (run / "summary.json").exists()
    assert (run / "figures" / "accuracy.png").read_bytes().endswith(b"IEND\xaeB`\x82")
    left = {path.name for path in run.iterdir()}
    assert left == {
        ".lock", "adapter", "checkpoints", "config.yaml", "figures", "ledger.jsonl", "metrics.jsonl", "summary.json",
        "tensorboard",
    }  # fmt: skip
