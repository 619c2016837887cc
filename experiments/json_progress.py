"""Progress for scripts: one JSON object a line on standard error, as things happen.

Every line has `event`: `say` (what is being done) and `note` (what must be known) with `text`; `round` with what a
round released; `step` with what a step of pre-training reached. Only released numbers are in it, as in the display for
people.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from experiments.formatting import finite
from experiments.time_left import TimeLeft

if TYPE_CHECKING:
    from fl_core.round_report import RoundReport

__all__ = ["JsonProgress"]


class JsonProgress:
    """Lines of JSON on standard error.

    Args:
        steps: how many rounds or steps there are.
        title: what is running; in every line.
        target: the view that the run is held to, and the epsilon there; or None.
    """

    def __init__(self, steps: int, title: str, target: tuple[str, float] | None = None) -> None:
        self._steps, self._title = steps, title
        self._view = None if target is None else target[0]
        self._target = None if target is None else target[1]
        self._left = TimeLeft(steps)

    def say(self, text: str) -> None:
        """What is being done before or after the steps."""
        if text:
            self._write("say", {"text": text})

    def note(self, text: str) -> None:
        """What must be known before hours are spent."""
        self._write("note", {"text": text})

    def advance(self, step: int, state: str, note: str = "", facts: Mapping[str, float | None] | None = None) -> None:
        """`step` steps are done; `facts` are what the words of `state` and `note` say, as numbers."""
        said = {"text": "  ".join(part for part in (state, note) if part)} if facts is None else _finite(facts)
        self._write("step", {"step": step, "steps": self._steps, "seconds_left": self._left.after(step), **said})

    def round(self, report: RoundReport) -> None:
        """A round is done."""
        self._write(
            "round",
            {
                "round": report.round,
                "rounds": report.rounds,
                "epsilon": report.epsilons,
                "epsilon_target": self._target,
                "epsilon_target_view": self._view,
                "scores": _finite(report.scores),
                "survivors": report.survivors,
                "refused": report.refused,
                "message": report.message,
                "seconds_left": self._left.after(report.round),
            },
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing: every line is written as it comes."""

    def _write(self, event: str, facts: Mapping[str, object]) -> None:
        line = json.dumps({"event": event, "title": self._title, **facts}, allow_nan=False)
        print(line, file=sys.stderr, flush=True)


def _finite(facts: Mapping[str, float | None]) -> dict[str, float | None]:
    """JSON has no NaN: what is no finite number is null."""
    return {name: finite(value) for name, value in facts.items()}
