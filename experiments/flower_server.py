"""The ServerApp that `flwr run` starts in a deployment, on the SuperLink's host.

The run's arguments name files of that host, and no configuration comes over Flower. Configuration in, run folder out,
as with `sotto run`.
"""

from __future__ import annotations

from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from experiments.progress import target_of
from experiments.runs import execute
from experiments.terminal_progress import RoundProgress
from fl_core.config import ConfigError
from fl_core.config_file import load_config
from fl_core.engines.flower.apps import GridRelay

__all__ = ["serve", "server_app"]


def server_app() -> ServerApp:
    """The ServerApp of `deploy/`."""
    app = ServerApp()
    app.main()(serve)
    return app


def serve(grid: Grid, context: Context) -> None:
    """Run the configuration that the run's arguments name.

    Raises:
        SottoError: for everything that a user or operator can mend; Flower marks the run as failed.
    """
    settings = context.run_config
    for name in ("config", "out"):
        if not settings.get(name):
            raise ConfigError(f'{name} is missing; give flwr run --run-config \'config="run.yaml" out="runs/one"\'')
    config = load_config(Path(str(settings["config"])), [])
    if config.engine.name != "flower":
        raise ConfigError(f"{settings['config']}: engine.name is {config.engine.name!r}; allowed here: flower")
    if config.aggregation.deployment is None:
        raise ConfigError(
            f"{settings['config']}: aggregation.deployment is missing; a deployment's clients seal to its parties"
        )
    resume, overwrite = bool(settings.get("resume")), bool(settings.get("overwrite"))
    with RoundProgress(config.federation.rounds, silent=False, target=target_of(config)) as progress:
        execute(config, Path(str(settings["out"])), resume, overwrite, progress, GridRelay(grid))
