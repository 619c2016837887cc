"""`sotto data`: which data sets are here, where from, and whether they are what was published."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command group to `app`."""
    group = typer.Typer(no_args_is_help=True, help="Data sets: list them, verify their checksums.")
    group.command("list")(list_)
    group.command("verify")(verify)
    app.add_typer(group, name="data")


def list_(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, nothing else")] = False,
) -> None:
    """Every known data set and where it would come from."""
    _show(as_json)


def verify(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, nothing else")] = False,
) -> None:
    """Check every file against its published checksum; exit code 2 if one that is there is damaged."""
    damaged = _show(as_json)
    if damaged:
        from experiments.datasets import DatasetCorrupt

        raise DatasetCorrupt(f"damaged: {', '.join(damaged)}; remove or replace these files")


def _show(as_json: bool) -> list[str]:
    import json

    from rich.console import Console
    from rich.table import Table

    from experiments.datasets import catalogue

    entries = catalogue()
    if as_json:
        print(json.dumps({"datasets": [asdict(entry) for entry in entries]}, sort_keys=True, default=str))
    else:
        table = Table("data set", "from", "here", "intact")
        for entry in entries:
            table.add_row(entry.name, entry.origin, "yes" if entry.present else "no", _intact(entry.checksums_ok))
        Console().print(table)
    return [entry.name for entry in entries if entry.checksums_ok is False]


def _intact(value: bool | None) -> str:
    return "-" if value is None else ("yes" if value else "NO")
