"""`sotto report`: a page, figures and one table from run folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(report)


def report(
    folders: Annotated[list[Path], typer.Argument(help="Run folders, or a report's runs.json")],
    out: Annotated[Path, typer.Option(help="Folder for page, table and figures")] = Path("report"),
    only: Annotated[list[str] | None, typer.Option(help="Names of runs, repeated or not; default all")] = None,
    title: Annotated[str | None, typer.Option(help="Title of page and figures; default what they show")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but mistakes")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the arms as one JSON object, nothing else")] = False,
) -> None:
    """Write one self-contained HTML page about runs, verify their ledgers, draw figures, and write one table."""
    from experiments.arm_table import arm_facts, arm_table
    from experiments.arms import arms_of, chosen_runs
    from experiments.printed_result import print_table
    from experiments.report import write_report
    from experiments.report_folder import refuse_other_folder
    from experiments.stored_runs import ledgers_of, load_runs

    runs = chosen_runs(load_runs(folders), only or [])
    refuse_other_folder(out)
    written = write_report(runs, ledgers_of(folders), out, title)
    arms = arms_of(runs)
    if as_json:
        facts = {"arms": arm_facts(arms), "report": str(written.page), "ledger_faults": written.faults}
        print(json.dumps(facts, allow_nan=False))
    elif not quiet:
        print_table(*arm_table(arms), [arm.name for arm in arms])
        print(f"written: {out}   report: {written.page}")
    written.refuse_faults()
