"""Progress for people, on standard error: a bar in a terminal, a line now and then elsewhere.

Takes what is being done and what a round released; nothing else of a run is ever shown.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Column

from experiments.time_left import TimeLeft, in_words

if TYPE_CHECKING:
    from fl_core.round_report import RoundReport

__all__ = ["RoundProgress", "StepProgress"]

_LINE_EVERY = 60.0  # seconds without a line, off a terminal, after which a step has one


class StepProgress:
    """Progress on standard error: a bar in a terminal, a line now and then elsewhere, nothing when `silent`.

    Args:
        steps: how many there are.
        title: what is running.
        silent: show nothing (for --quiet and --json).
    """

    def __init__(self, steps: int, title: str, silent: bool) -> None:
        console = Console(stderr=True)
        self._title, self._steps = title, steps
        self._silent = silent
        self._plain = not silent and not console.is_terminal
        self._every = max(1, steps // 10)
        self._shown, self._shown_at = 0, time.monotonic()
        self._left = TimeLeft(steps)
        self._bar = Bar(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=min(24, console.width // 8)),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            # Paths may hold brackets. In a narrow terminal the words take more lines, and nothing else gives way.
            TextColumn("{task.fields[state]}", markup=False, table_column=Column(ratio=1, overflow="fold")),
            console=console,
            expand=True,
            disable=silent or self._plain,
            transient=True,
        )
        self._task = self._bar.add_task(self._title, total=steps, state="")

    def say(self, text: str) -> None:
        """What is being done before or after the steps."""
        self._bar.update(self._task, state=text)
        self._bar.refresh()

    def note(self, text: str) -> None:
        """A line that stays: what must be known before hours are spent."""
        if not self._silent:
            self._bar.console.print(f"note: {text}", markup=False, highlight=False, soft_wrap=True)

    def advance(self, step: int, state: str, note: str = "", facts: Mapping[str, float | None] | None = None) -> None:
        """`step` steps are done; a `note` is worth a line of its own where there is no bar; `facts` are for scripts."""
        text = "  ".join(part for part in (state, note) if part)
        self._bar.update(self._task, completed=step, state=text)
        left = self._left.after(step)
        waited = time.monotonic() - self._shown_at >= _LINE_EVERY
        if self._plain and (step // self._every > self._shown // self._every or note or waited):
            rest = f"  {in_words(left)} left" if left else ""
            print(f"{self._title} {step}/{self._steps}  {text}{rest}".rstrip(), file=sys.stderr, flush=True)
            self._shown, self._shown_at = step, time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()


class RoundProgress(StepProgress):
    """Progress of a federated run.

    Args:
        rounds, silent, title: as for `StepProgress`.
        target: the view that the run is held to, and the epsilon there; None: no bound but the number of rounds.
    """

    def __init__(
        self, rounds: int, silent: bool, title: str = "round", target: tuple[str, float] | None = None
    ) -> None:
        super().__init__(rounds, title, silent)
        self._bounds = {} if target is None else {target[0]: f" of {target[1]:g}"}
        self._accuracy = ""

    def round(self, report: RoundReport) -> None:
        """A round is done."""
        if "accuracy" in report.scores:
            self._accuracy = f"accuracy {report.scores['accuracy']:.4f}"
            parts = [self._accuracy]
            self._accuracy += f" (round {report.round})"
        else:
            parts = [self._accuracy] if self._accuracy else []
        spent = [
            f"{view} {value:.3g}{self._bounds.get(view, '')}"
            for view, value in report.epsilons.items()
            if value is not None
        ]
        if spent:
            parts.append(f"eps {', '.join(spent)}")
        refused = f" ({report.refused:,} refused)" if report.refused else ""
        if not report.message:
            parts.append(f"{report.survivors:,} clients{refused}")
        self.advance(report.round, "  ".join(parts), report.message)
