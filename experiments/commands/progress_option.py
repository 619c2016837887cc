"""`--progress`: for people or for scripts, and the display that follows from it."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import click
import typer

if TYPE_CHECKING:
    from experiments.json_progress import JsonProgress
    from experiments.terminal_progress import RoundProgress, StepProgress
    from fl_core.config import RunConfig

__all__ = ["Progress", "ProgressOption", "round_progress", "step_progress"]


class Progress(StrEnum):
    """How progress is shown."""

    AUTO = "auto"
    JSON = "json"


ProgressOption = Annotated[
    Progress,
    typer.Option(help="auto: a bar in a terminal, else a line now and then; json: a JSON object a line on stderr"),
]


def round_progress(
    chosen: Progress, quiet: bool, as_json: bool, config: RunConfig, title: str = "round"
) -> RoundProgress | JsonProgress:
    """Progress of a run's rounds; silent with --quiet, and with --json unless it was asked for."""
    from experiments.json_progress import JsonProgress
    from experiments.progress import target_of
    from experiments.terminal_progress import RoundProgress

    rounds, target = config.federation.rounds, target_of(config)
    if _for_scripts(chosen, quiet):
        return JsonProgress(rounds, title, target)
    return RoundProgress(rounds, silent=quiet or as_json, title=title, target=target)


def step_progress(chosen: Progress, quiet: bool, as_json: bool, steps: int, title: str) -> StepProgress | JsonProgress:
    """Progress of steps that are no rounds; silent as `round_progress`."""
    from experiments.json_progress import JsonProgress
    from experiments.terminal_progress import StepProgress

    if _for_scripts(chosen, quiet):
        return JsonProgress(steps, title)
    return StepProgress(steps, title, silent=quiet or as_json)


def _for_scripts(chosen: Progress, quiet: bool) -> bool:
    if chosen is Progress.JSON and quiet:
        raise click.UsageError("--quiet and --progress json exclude each other; leave one of them out")
    return chosen is Progress.JSON
