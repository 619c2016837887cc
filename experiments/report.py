"""Tables and figures over several run folders."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.figures import draw_comparison
from experiments.summary import COLUMNS, table_row
from fl_core.run_folder import storage_errors, write_atomically
from fl_core.tracking import read_metrics
from secagg.errors import SottoError

__all__ = ["Run", "load_runs", "write_report"]

Run = tuple[str, list[dict[str, Any]], dict[str, Any]]


def load_runs(folders: Sequence[Path]) -> list[Run]:
    """(name, metrics rows, summary) of finished runs.

    Raises:
        SottoError: if a folder holds no finished run.
    """
    runs = []
    for folder in folders:
        path = folder / "summary.json"
        try:
            summary = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise SottoError(
                f"{folder} holds no finished run (no summary.json); give folders that `sotto run` wrote"
            ) from None
        except (OSError, ValueError) as error:
            raise SottoError(f"{path} cannot be read: {error}") from None
        runs.append((folder.name, read_metrics(folder / "metrics.jsonl"), summary))
    return runs


def write_report(runs: Sequence[Run], out: Path, title: str) -> None:
    """`table.md`, `runs.json` (summaries and accuracy by round) and `accuracy.png` in folder `out`."""
    with storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        draw_comparison(runs, title, out / "accuracy.png")
    write_atomically(out / "table.md", _markdown(runs).encode())
    facts = [
        {
            "name": name,
            "summary": summary,
            "accuracy": [[r["round"], r["accuracy"]] for r in rows if "accuracy" in r],
        }
        for name, rows, summary in runs
    ]
    write_atomically(out / "runs.json", (json.dumps(facts, sort_keys=True, allow_nan=False) + "\n").encode())


def _markdown(runs: Sequence[Run]) -> str:
    lines = ["| run | " + " | ".join(COLUMNS) + " | notes |", "|" + "---|" * (len(COLUMNS) + 2)]
    notes: dict[str, int] = {}
    for name, _, summary in runs:
        said = [*summary["privacy"]["warnings"], *summary["notes"]]
        numbers = [str(notes.setdefault(text, len(notes) + 1)) for text in said]
        lines.append(f"| {name} | " + " | ".join(table_row(summary)) + f" | {', '.join(numbers)} |")
    delta = sorted({summary["privacy"]["delta"] for _, _, summary in runs})
    lines += ["", f"Adjacency zero-out, delta {', '.join(f'{value:g}' for value in delta)}; ∞: no finite epsilon.", ""]
    return "\n".join([*lines, *(f"{number}. {text}" for text, number in notes.items())]) + "\n"
