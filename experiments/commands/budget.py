"""`sotto budget`: begin a budget that runs on the same data share, and show what of it is spent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["register"]

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The budget's folder.")]


def register(app: typer.Typer) -> None:
    """Add the command group to `app`."""
    group = typer.Typer(no_args_is_help=True, help="Budgets that several runs on the same data share.")
    for command in (init, show):
        group.command()(command)
    app.add_typer(group, name="budget")


def init(
    folder: Folder,
    epsilon: Annotated[float, typer.Option(help="What all runs together may spend, above 0.")],
    delta: Annotated[float, typer.Option(help="Failure probability, above 0 and below 1.")],
    view: Annotated[str, typer.Option(help="Against whom: release, aggregators or local.")] = "aggregators",
) -> None:
    """Begin a budget; runs share it with privacy.budget=FOLDER."""
    from fl_core.budget_folder import Terms, create_budget

    create_budget(folder, Terms(epsilon, delta, view))
    print(f"{folder}: runs with privacy.budget={folder} may reach epsilon {epsilon:g} together ({view} view)")


def show(
    folder: Folder,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Verify the ledgers of a budget's runs and add up what they have spent."""
    from experiments.formatting import epsilon_to_cite, finite
    from fl_core.budget_folder import spending

    found = spending(folder)
    terms = found.terms
    rows = [
        (entry.run, str(entry.ledger), sum(opening.steps for opening in contents.openings), spent)
        for entry, contents, spent in found.runs
    ]
    if as_json:
        runs = [
            {"run": run, "ledger": ledger, "openings": openings, "epsilon": finite(spent)}
            for run, ledger, openings, spent in rows
        ]
        answer = {"allowed": terms.epsilon, "delta": terms.delta, "view": terms.view, "epsilon": finite(found.epsilon)}
        print(json.dumps({**answer, "runs": runs}, sort_keys=True, allow_nan=False))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("run", "openings", "epsilon alone", title=f"{terms.view} view, delta {terms.delta:g}, by rdp")
    for _, ledger, openings, spent in rows:
        table.add_row(str(Path(ledger).parent), f"{openings:,}", epsilon_to_cite(spent))
    console = Console()
    console.print(table)
    console.print(
        f"together: epsilon {epsilon_to_cite(found.epsilon)} of {terms.epsilon:g}", highlight=False, soft_wrap=True
    )
