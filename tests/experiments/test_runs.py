"""What a run may go on from, and its folder at the end: a folder that has a summary has everything."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import util
from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments import figures, runs
from experiments.printed_result import print_result
from experiments.runs import _refuse_difference, _refuse_other_run
from fl_core.config import ConfigError
from fl_core.config_file import save_config
from fl_core.privacy.ledger import read_ledger
from fl_core.storage import StorageError
from secagg.errors import AggregationError, SottoError
from tests.fl_core.privacy.ledgers import HEADER
from tests.fl_core.tiny import tiny_config, tiny_task

KNOWN = replace(HEADER, data="mnist", contribution="an image")
FOLDER = SimpleNamespace(path=Path("runs/one"))


def test_a_ledger_that_does_not_say_what_it_is_about_is_gone_on_with():
    for before in (KNOWN, HEADER, replace(HEADER, data="mnist"), replace(HEADER, contribution="an image")):
        _refuse_other_run(replace(KNOWN, run="new"), before, FOLDER)


@pytest.mark.parametrize("change", [{"data": "digits"}, {"contribution": "a user"}, {"clients": 11}])
def test_a_run_on_something_else_is_not(change):
    with pytest.raises(ConfigError, match=f"cannot resume runs/one: the ledger's {next(iter(change))} was"):
        _refuse_other_run(replace(KNOWN, run="new"), replace(KNOWN, **change), FOLDER)


def test_a_ledger_of_an_earlier_version_may_lack_a_caution_but_nothing_else():
    now = replace(KNOWN, run="new", warnings=("one machine held all clients", "a stand-in"))
    _refuse_other_run(now, replace(KNOWN, warnings=("a stand-in",)), FOLDER, ("one machine held all clients", None))
    _refuse_other_run(now, now, FOLDER, ("one machine held all clients",))
    for before in (replace(KNOWN, warnings=("one machine held all clients",)), KNOWN):
        with pytest.raises(ConfigError, match="the ledger's warnings was"):
            _refuse_other_run(now, before, FOLDER, ("one machine held all clients",))
    with pytest.raises(ConfigError, match="the ledger's warnings was"):
        _refuse_other_run(now, replace(KNOWN, warnings=("a stand-in",)), FOLDER)


def test_who_else_is_told_of_rounds_may_change_when_a_run_goes_on(tmp_path):
    save_config(tiny_config(), tmp_path / "config.yaml")
    _refuse_difference(tiny_config("tracking.wandb=true", "engine.workers=2"), tmp_path / "config.yaml")
    with pytest.raises(ConfigError, match="lora.rank is 3 now"):
        _refuse_difference(tiny_config("tracking.wandb=true", "lora.rank=3"), tmp_path / "config.yaml")


class Silent:
    def say(self, text): ...

    def note(self, text): ...

    def round(self, report): ...


@pytest.fixture
def execute(tmp_path, monkeypatch):
    """Runs the tiny task in `tmp_path/run`."""
    monkeypatch.setattr(runs, "build_task", lambda config, on_progress: tiny_task(config))
    return lambda resume: runs.execute(tiny_config("federation.rounds=2"), tmp_path / "run", resume, False, Silent())


def test_a_simulation_says_in_every_output_against_whom_nothing_protects(execute, tmp_path, capsys):
    run, said = tmp_path / "run", "one machine held all clients and the server: nothing protects the records from who"
    summary = execute(False)
    assert sum(text.startswith(said) for text in summary["privacy"]["warnings"]) == 1
    assert read_ledger(run / "ledger.jsonl").header.warnings[-1].startswith(said)
    assert f"* {said}" in (run / "adapter" / "README.md").read_text(encoding="utf-8")
    page = (run / "report.html").read_text(encoding="utf-8")
    assert page.count(f"<p>{said.capitalize()}") == 1
    assert page.count(said[1:]) == 1  # and not once more among what must be read first
    print_result(summary, run)
    assert f"note: {said}" in capsys.readouterr().out


def test_a_run_that_has_finished_is_left_as_it_is(execute, tmp_path):
    summary = execute(False)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert execute(True) == summary
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_a_resumed_run_counts_the_seconds_of_its_earlier_rounds(execute, tmp_path):
    run = tmp_path / "run"
    execute(False)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    slow = [row | {"seconds": 1000.0} for row in rows]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in slow))
    (run / "summary.json").unlink()
    assert execute(True)["seconds"] > 2000


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
        ".lock", "adapter", "checkpoints", "config.yaml", "figures", "ledger.jsonl", "metrics.jsonl", "report.html",
        "summary.json", "tensorboard",
    }  # fmt: skip


def test_what_is_missing_is_told_before_any_folder_is_made(tmp_path, monkeypatch):
    found = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name, *more: None if name == "crypten" else found(name, *more))
    with pytest.raises(AggregationError, match=r"CrypTen, .*is not installed; install it with 'pip install --no-deps"):
        runs.execute(tiny_config("aggregation.backend=smpc"), tmp_path / "run", False, False, Silent())
    with pytest.raises(StorageError, match="holds no budget"):
        shared = tiny_config(f"privacy.budget={tmp_path / 'none'}", "privacy.insecure_seed=null")
        runs.execute(shared, tmp_path / "run", False, False, Silent())
    assert not list(tmp_path.iterdir())
    with pytest.raises(SottoError, match="lr is nothing"):
        monkeypatch.setattr(runs, "build_task", failing)
        runs.execute(tiny_config(), tmp_path / "run", False, False, Silent())
    assert not list(tmp_path.iterdir())


def failing(config, on_progress):
    raise SottoError("lr is nothing")
