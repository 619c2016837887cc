"""Several sweep commands may share a folder: what one is at, the others leave alone."""

from __future__ import annotations

import json
import shutil

import yaml

from experiments import runs
from fl_core.storage import lock_folder
from tests.experiments.html_report.sample import sample_run


def test_runs_that_another_process_is_at_are_left_to_it(sotto, tmp_path, monkeypatch):
    (tmp_path / "base.yaml").write_text(yaml.safe_dump({"privacy": {"epsilon": 2}}))
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump({"base": "base.yaml", "runs": {"a": [], "b": []}}))
    started = []

    def execute(config, out, resume, overwrite, progress):
        lock = lock_folder(out)  # refuses like a real run
        started.append(out.name)
        _, rows, summary = sample_run(tmp_path / f"made of {out.name}")
        (out / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        shutil.copy(tmp_path / f"made of {out.name}" / "ledger.jsonl", out)
        (out / "summary.json").write_text(json.dumps(summary))
        lock.close()

    monkeypatch.setattr(runs, "execute", execute)
    elsewhere = lock_folder(tmp_path / "out" / "a")
    code, out, _ = sotto("sweep", tmp_path / "sweep.yaml", "--out", tmp_path / "out", "--quiet")
    assert code == 0
    assert started == ["b"]
    assert "left to another process: a" in out
    elsewhere.close()
    code, out, _ = sotto("sweep", tmp_path / "sweep.yaml", "--out", tmp_path / "out", "--quiet")
    assert code == 0
    assert started == ["b", "a"]
    assert "left to another process" not in out


def test_nothing_to_show_yet_is_no_error(sotto, tmp_path, monkeypatch):
    (tmp_path / "base.yaml").write_text(yaml.safe_dump({"privacy": {"epsilon": 2}}))
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump({"base": "base.yaml", "runs": {"a": []}}))
    elsewhere = lock_folder(tmp_path / "out" / "a")
    code, _, _ = sotto("sweep", tmp_path / "sweep.yaml", "--out", tmp_path / "out", "--quiet")
    elsewhere.close()
    assert code == 0
