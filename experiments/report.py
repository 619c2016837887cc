"""The report about several runs: a table, every number, figures and one page, in a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.arm_table import as_markdown
from experiments.arms import Run, arms_of, trust_arms
from experiments.comparison import draw_comparison, draw_trust
from experiments.html_report import write_page
from fl_core.privacy.ledger import LedgerError
from fl_core.storage import storage_errors, write_atomically

__all__ = ["Report", "write_report"]


@dataclass(frozen=True)
class Report:
    """A report that was written.

    Attributes:
        page: path of the page.
        faults: what is wrong with a ledger that does not bear out its run's numbers, by the run's name.
    """

    page: Path
    faults: dict[str, str]

    def refuse_faults(self) -> None:
        """Raise LedgerError, which names the runs, if there are any."""
        if self.faults:
            told = "; ".join(f"{name}: {sentence}" for name, sentence in self.faults.items())
            raise LedgerError(f"the report is written, but the ledger does not bear out the numbers of {told}")


def write_report(runs: Sequence[Run], ledgers: Mapping[str, Path], out: Path, title: str | None = None) -> Report:
    """`table.md`, `runs.json` (summaries and accuracy by round), figures and a page in folder `out`.

    `accuracy.png` shows accuracy by round; `trust.png`, where trust models are compared, accuracy by epsilon.

    Args:
        runs: as `stored_runs.load_runs` gives them, names all different; at least one.
        ledgers: path of the ledger by the run's name; runs without one are said to be not verified.
        out: the folder; is made if need be.
        title: of figures and page; default what they show.

    Raises:
        StorageError: if it cannot be written.
    """
    arms = arms_of(runs)
    with storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        draw_comparison(arms, title or "accuracy by round", out / "accuracy.png")
        if trust_arms(arms):
            draw_trust(arms, title or "accuracy by epsilon and trust", out / "trust.png")
    facts = [
        {
            "name": name,
            "summary": summary,
            "accuracy": [[r["round"], r["accuracy"]] for r in rows if "accuracy" in r],
        }
        for name, rows, summary in runs
    ]
    write_atomically(out / "runs.json", (json.dumps(facts, sort_keys=True, allow_nan=False) + "\n").encode())
    page = out / "report.html"
    faults = write_page(runs, ledgers, page, title)
    write_atomically(out / "table.md", as_markdown(arms, faults).encode())
    return Report(page, faults)
