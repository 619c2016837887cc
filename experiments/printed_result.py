"""What a command prints when runs are done: a table, what must be said with it, and where things are.

No epsilon is printed without its unit and view, and no number without the run's warnings.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from experiments.arm_table import arm_table, noise_by
from experiments.arms import arms_of
from experiments.formatting import epsilon_to_cite
from experiments.summary import extrapolates, in_words, warnings_and_notes

__all__ = ["print_result", "print_table"]


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], names: Sequence[str] | None = None) -> None:
    """One row per run or arm; unit and views beside every epsilon."""
    console = Console()
    if console.width < 190:
        # A narrow terminal would cut columns; turn each row into lines.
        for index, row in enumerate(rows):
            table = Table("", names[index] if names else "result", show_header=bool(names))
            for column, cell in zip(columns, row, strict=True):
                table.add_row(column, cell)
            console.print(table)
        return
    table = Table(*(("run",) if names else ()), *columns)
    for index, row in enumerate(rows):
        table.add_row(*([names[index]] if names else []), *row)
    console.print(table)


def print_result(summary: dict[str, Any], folder: Path) -> None:
    """The table of one run, its warnings, and where things are."""
    columns, (row,) = arm_table(arms_of([("", [], summary)]))
    # Epsilons stand below, where there is room for what they are and against whom.
    kept = [index for index, column in enumerate(columns) if not column.startswith("eps ")]
    print_table([columns[index] for index in kept], [[row[index] for index in kept]])
    if learns := in_words(summary, "learns"):
        print(f"learnt: {learns}; scored on {in_words(summary, 'scored_on')}")
    for text in warnings_and_notes(summary):
        print(f"note: {text}")
    if not summary["privacy"]["private"]:
        print("epsilon: none, since this run is not private, see notes")
    else:
        proven = (
            "proven for the integers that ran" if summary["privacy"]["proven"] else "not proven for what ran, see notes"
        )
        ideal = summary["idealised_release_epsilon"]
        if ideal is not None:
            proven += f" (release view of idealised real-valued noise, by PLD: {ideal:.3f})"
        unit, record = summary["privacy"]["unit"], in_words(summary, "record")
        about = f"; one record is {record}" if record and unit == "example" else ""
        print(f"epsilon: {proven}; unit {unit}, delta {summary['privacy']['delta']:g}, zero-out{about}")
        print(f"epsilon realised: {_realised(summary)}")
    print(f"noise: {_noise(summary)}")
    print(f"{summary['ended']} ({summary['rounds_done']} rounds, {summary['source']})")
    print(f"adapter: {folder / 'adapter'}   ledger: sotto ledger {folder}   report: {folder / 'report.html'}")


def _realised(summary: dict[str, Any]) -> str:
    """Epsilon by view, of what was opened."""
    shown = [f"{name} {epsilon_to_cite(view['epsilon'])}" for name, view in summary["privacy"]["views"].items()]
    target = summary["config"]["privacy"]["epsilon"] if not extrapolates(summary) else None
    return ", ".join(shown) + ("" if target is None else f" (asked for: {target:g})")


def _noise(summary: dict[str, Any]) -> str:
    """Who added it and what came over the wire."""
    config = summary["config"]
    by = noise_by(config)
    parts = ["none" if by == "-" else f"by {by}"]
    if config["privacy"]["trust"] == "distributed" and config["noise"]["by"] != "aggregators":
        parts.append(
            "the surplus over what was asked for taken out of every sum"
            if config["noise"]["dropout"] == "xnoise"
            else f"shares sized for {config['federation']['n_min'] or config['federation']['clients']} survivors"
        )
    parts.append(f"ring of 2^{summary['ring_bits']}, {summary['bytes_per_client']:,} bytes a client and round")
    return "; ".join(parts)
