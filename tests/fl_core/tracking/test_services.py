"""MLflow and Weights & Biases: a sentence where they are missing, local unless told otherwise, kept short.

With stand-ins for both packages, which are no dependency; the slow tests use the real ones where they are installed.
"""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType, SimpleNamespace

import pytest

from fl_core.config import ConfigError, TrackingConfig
from fl_core.tracking import outside_trackers, refuse_missing_services
from fl_core.tracking.services import Mlflow, Wandb
from tests.fl_core.tiny import run_tiny, tiny_config

ROW = {"round": 3, "accuracy": 0.5, "whole/accuracy": 0.4, "simulation/loss": 2.0, "message": "words"}


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch):
    for name in ("MLFLOW_TRACKING_URI", "WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def mlflow(monkeypatch):
    """A stand-in that keeps what it was told: `.runs` (id: tags, status, metrics), `.homes`."""
    store = SimpleNamespace(runs={}, homes=[], experiments={})

    class Client:
        def __init__(self, tracking_uri):
            store.homes.append(tracking_uri)

        def get_experiment_by_name(self, name):
            number = store.experiments.get(name)
            return None if number is None else SimpleNamespace(experiment_id=number)

        def create_experiment(self, name):
            return store.experiments.setdefault(name, "1")

        def search_runs(self, experiments, filter_string, max_results):
            wanted = filter_string.partition(" = ")[2].strip("'")
            found = [run for run in store.runs.values() if run.tags["sotto.run"] == wanted]
            return [SimpleNamespace(info=SimpleNamespace(run_id=run.id)) for run in found[:max_results]]

        def create_run(self, experiment_id, start_time, tags, run_name):
            run = SimpleNamespace(id=f"m{len(store.runs)}", tags=tags, name=run_name, status="RUNNING", metrics=[])
            store.runs[run.id] = run
            return SimpleNamespace(info=SimpleNamespace(run_id=run.id))

        def update_run(self, run_id, status):
            store.runs[run_id].status = status

        def log_batch(self, run_id, metrics):
            store.runs[run_id].metrics += metrics

        def set_terminated(self, run_id):
            store.runs[run_id].status = "FINISHED"

    tracking, entities = ModuleType("mlflow.tracking"), ModuleType("mlflow.entities")
    tracking.MlflowClient = Client
    entities.Metric = lambda key, value, timestamp, step: (key, value, step)
    monkeypatch.setitem(sys.modules, "mlflow", ModuleType("mlflow"))
    monkeypatch.setitem(sys.modules, "mlflow.tracking", tracking)
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    return store


@pytest.fixture
def wandb(monkeypatch):
    """A stand-in that keeps what it was begun with and told."""
    module = ModuleType("wandb")
    module.begun, module.rows, module.ended = [], [], 0

    def finish():
        module.ended += 1

    def init(**options):
        module.begun.append(options)
        return SimpleNamespace(define_metric=lambda *_, **__: None, log=module.rows.append, finish=finish)

    module.init, module.Settings = init, lambda **settings: settings
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


@pytest.mark.parametrize("key", ["mlflow", "wandb"])
def test_a_service_that_is_not_installed_is_one_sentence_before_anything_begins(monkeypatch, key):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == key else real(name))
    refuse_missing_services(TrackingConfig())
    with pytest.raises(
        ConfigError, match=rf"tracking.{key} is true and {key} is not installed; run 'pip install {key}"
    ):
        refuse_missing_services(TrackingConfig(**{key: True}))


def test_both_are_off_by_default_and_nothing_is_imported(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)  # an import would fail
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert outside_trackers(tiny_config().tracking, tmp_path, "run") == []


def test_a_service_that_cannot_begin_is_a_sentence(tmp_path, wandb):
    def refuse(**_):
        raise OSError("api.wandb.ai does not answer\nTraceback")

    wandb.init = refuse
    with pytest.raises(
        ConfigError, match="tracking.wandb is true and Weights & Biases cannot begin: api.wandb.ai does"
    ):
        outside_trackers(TrackingConfig(wandb=True), tmp_path, "run")


def test_mlflow_gets_public_numbers_in_the_run_folder_under_names_that_it_takes(tmp_path, mlflow):
    (tracker,) = outside_trackers(TrackingConfig(mlflow=True, project="mine"), tmp_path / "own", "ab12")
    tracker.record(ROW)
    tracker.close()
    assert mlflow.homes == [(tmp_path / "own" / "mlruns").as_uri()]
    assert mlflow.experiments == {"mine": "1"}
    (run,) = mlflow.runs.values()
    assert (run.name, run.tags, run.status) == ("own", {"sotto.run": "ab12"}, "FINISHED")
    assert run.metrics == [("accuracy", 0.5, 3), ("whole/accuracy", 0.4, 3)]


def test_a_resumed_run_goes_on_in_mlflow_as_the_same(tmp_path, mlflow):
    for _ in range(2):
        tracker = Mlflow("sotto", tmp_path, "ab12")
        assert mlflow.runs["m0"].status == "RUNNING"
        tracker.close()
    Mlflow("sotto", tmp_path, "another")
    assert list(mlflow.runs) == ["m0", "m1"]


def test_mlflows_own_address_is_used_where_there_is_one(tmp_path, mlflow, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.example")
    Mlflow("sotto", tmp_path, "ab12")
    assert mlflow.homes == ["http://mlflow.example"]


@pytest.mark.parametrize(
    ("variables", "mode", "resume"),
    [
        ({}, "offline", None),
        ({"WANDB_API_KEY": "k"}, "online", "allow"),
        ({"WANDB_API_KEY": "k", "WANDB_MODE": "offline"}, "offline", None),
        ({"WANDB_MODE": "online"}, "online", "allow"),
    ],
)
def test_wandb_is_offline_unless_there_is_a_key_or_a_mode(tmp_path, wandb, monkeypatch, variables, mode, resume):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    Wandb("sotto", tmp_path, "ab12")
    (options,) = wandb.begun
    assert (options["mode"], options["resume"], options["id"], options["dir"]) == (mode, resume, "ab12", str(tmp_path))


def test_wandb_gathers_nothing_by_itself_and_gets_no_configuration(tmp_path, wandb):
    (tracker,) = outside_trackers(TrackingConfig(wandb=True), tmp_path, "ab12")
    tracker.record(ROW)
    tracker.close()
    (options,) = wandb.begun
    assert not {"config", "notes", "tags"} & set(options)
    settings = options["settings"]
    assert settings["console"] == "off"
    assert not settings["save_code"]
    assert not settings["x_save_requirements"]
    assert all(settings[name] for name in ("disable_code", "disable_git", "x_disable_meta", "x_disable_stats"))
    assert wandb.rows == [{"round": 3, "accuracy": 0.5, "whole/accuracy": 0.4}]
    assert wandb.ended == 1


def test_a_run_is_told_to_both_and_its_id_is_the_ledgers(tmp_path, mlflow, wandb):
    _, engine = run_tiny(tmp_path / "run", tiny_config("tracking.mlflow=true", "tracking.wandb=true"))
    assert [row["round"] for row in wandb.rows] == list(range(7))
    (run,) = mlflow.runs.values()
    assert run.tags["sotto.run"] == wandb.begun[0]["id"] == engine.ledger.header.run
    assert {key for key, _, _ in run.metrics} == {key for row in wandb.rows for key in row} - {"round"}
    assert not any("simulation" in key for key, _, _ in run.metrics)


@pytest.mark.slow
def test_the_real_ones_keep_public_numbers_in_the_run_folder(tmp_path):
    for name in ("mlflow", "wandb"):
        pytest.importorskip(name)
    run_tiny(tmp_path / "run", tiny_config("tracking.mlflow=true", "tracking.wandb=true", "federation.rounds=2"))
    names = {path.name for path in (tmp_path / "run" / "mlruns").glob("*/*/metrics/*")}
    assert {"accuracy", "survivors", "seconds"} <= names
    assert not any("loss" in name or "clipped" in name for name in names)
    (file,) = (tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb")
    content = file.read_bytes()
    assert b"accuracy" in content
    assert b"simulation" not in content
    assert str(tmp_path).encode() not in content
