"""`sotto report`: figures and one table from run folders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(report)


def report(
    folders: Annotated[list[Path], typer.Argument(help="Run folders, or a report's runs.json")],
    out: Annotated[Path, typer.Option(help="Folder for table and figures")] = Path("report"),
    only: Annotated[list[str] | None, typer.Option(help="Names of runs, repeated or not; default all")] = None,
    title: Annotated[str | None, typer.Option(help="Title of the figures; default what they show")] = None,
) -> None:
    """Draw accuracy by round of several runs and write one table (Markdown and JSON)."""
    from experiments.arms import arms_of, chosen_runs
    from experiments.display import print_table
    from experiments.report import arm_table, load_runs, write_report

    runs = chosen_runs(load_runs(folders), only or [])
    write_report(runs, out, title)
    arms = arms_of(runs)
    print_table(*arm_table(arms), [arm.name for arm in arms])
    print(f"written: {out}")
