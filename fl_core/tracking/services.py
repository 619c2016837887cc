"""Optional services, MLflow and Weights & Biases: off unless the configuration asks, and never needed.

They get a round's public numbers and the run's name and id, nothing else: no text, no configuration (it may name
folders), no ledger, no code, no host, no console output. (Weights & Biases itself adds the versions of Python, of some
libraries and of the kind of system.) Their own telemetry and crash reports are switched off. Without an address or a
key of one's own nothing leaves this machine: MLflow writes below the run folder, Weights & Biases keeps its files there
for a later `wandb sync`.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fl_core.config import ConfigError, TrackingConfig
from fl_core.first_line import first_line
from fl_core.tracking.tracker import Outside, Tracker

__all__ = ["Mlflow", "Wandb", "outside_trackers", "refuse_missing_services"]

# Service: module, and what to install.
_SERVICES = {"mlflow": ("mlflow", "mlflow-skinny"), "wandb": ("wandb", "wandb")}


def refuse_missing_services(config: TrackingConfig) -> None:
    """Refuse a service that was asked for and is not installed, before anything heavy begins.

    Raises:
        ConfigError: naming the key and what to do.
    """
    for key, (module, package) in _SERVICES.items():
        if getattr(config, key) and importlib.util.find_spec(module) is None:
            raise ConfigError(
                f"tracking.{key} is true and {module} is not installed; run 'pip install {package}', or leave it false "
                "(metrics.jsonl and TensorBoard's events are always written)"
            )


def outside_trackers(config: TrackingConfig, folder: Path, run: str) -> list[Tracker]:
    """The services that `config` asks for.

    Args:
        config: which ones.
        folder: the run folder; its name is the run's.
        run: the run's id, equal over its sessions.

    Raises:
        ConfigError: if one cannot be reached or begun.
    """
    kinds: dict[str, tuple[str, Callable[[str, Path, str], Tracker]]] = {
        "mlflow": ("MLflow", Mlflow),
        "wandb": ("Weights & Biases", Wandb),
    }
    found: list[Tracker] = []
    for key, (name, kind) in kinds.items():
        if getattr(config, key):
            try:
                found.append(Outside(name, kind(config.project, folder, run)))
            except Exception as error:  # a service may raise anything; it was asked for, so nothing runs without it
                raise ConfigError(f"tracking.{key} is true and {name} cannot begin: {first_line(error)}") from None
    return found


class Mlflow:
    """A run in MLflow, at MLFLOW_TRACKING_URI or else in the run folder's `mlruns`.

    Through MLflow's client, because its fluent API adds the user, the command and the commit by itself.
    """

    def __init__(self, project: str, folder: Path, run: str) -> None:
        # Late versions refuse plain folders unless they are told that one is meant.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        from mlflow.tracking import MlflowClient

        home = os.environ.get("MLFLOW_TRACKING_URI") or (folder.resolve() / "mlruns").as_uri()
        self._client = MlflowClient(tracking_uri=home)
        experiment = self._client.get_experiment_by_name(project)
        number = self._client.create_experiment(project) if experiment is None else experiment.experiment_id
        begun = self._client.search_runs([number], filter_string=f"tags.`sotto.run` = '{run}'", max_results=1)
        name = folder.resolve().name
        self._run = (begun[0] if begun else self._client.create_run(number, None, {"sotto.run": run}, name)).info.run_id
        if begun:
            self._client.update_run(self._run, status="RUNNING")

    def record(self, row: Mapping[str, Any]) -> None:
        """Log the numbers of one round."""
        from mlflow.entities import Metric

        now, step = int(1000 * time.time()), int(row["round"])
        metrics = [Metric(_plain(key), float(value), now, step) for key, value in row.items() if key != "round"]
        self._client.log_batch(self._run, metrics=metrics)

    def close(self) -> None:
        """Mark the run as ended; a resumed one opens it again."""
        self._client.set_terminated(self._run)


class Wandb:
    """A run in Weights & Biases: as WANDB_MODE says, else online with WANDB_API_KEY, else offline here."""

    def __init__(self, project: str, folder: Path, run: str) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        mode = os.environ.get("WANDB_MODE") or ("online" if os.environ.get("WANDB_API_KEY") else "offline")
        self._run = wandb.init(
            project=project,
            name=folder.resolve().name,
            id=run,
            dir=str(folder),
            mode=mode,
            resume="allow" if mode == "online" else None,
            settings=wandb.Settings(
                # All that it would gather by itself: console, code, host, packages, commits, the machine's load.
                console="off",
                save_code=False,
                disable_code=True,
                disable_git=True,
                disable_job_creation=True,
                silent=True,
                x_disable_meta=True,
                x_disable_stats=True,
                x_disable_machine_info=True,
                x_save_requirements=False,
            ),
        )
        self._run.define_metric("*", step_metric="round")

    def record(self, row: Mapping[str, Any]) -> None:
        """Log the numbers of one round, its own number among them."""
        self._run.log(dict(row))

    def close(self) -> None:
        """Write what is left, and upload it where that was asked for."""
        self._run.finish()


def _plain(key: str) -> str:
    """A name that every version of MLflow takes."""
    return "".join(sign if sign.isalnum() or sign in "_-./ " else "_" for sign in key)
