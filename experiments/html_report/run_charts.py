"""The figures of one run: accuracy, epsilon, survivors and seconds by round, and what a client sends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments.figures import accuracy_limits
from experiments.formatting import measured
from experiments.html_report.axis_numbers import as_epsilon, as_share, as_whole
from experiments.html_report.chart import Chart, Curve, Rule
from experiments.html_report.wording import bounded
from experiments.summary import extrapolates, in_words
from fl_core.privacy.views import VIEWS

__all__ = ["accuracy_chart", "epsilon_chart", "seconds_chart", "survivors_chart"]

Rows = Sequence[dict[str, Any]]

# Keys of metrics rows that say how long a part of a round took: `seconds_STAGE`, beside `seconds` of the whole.
_STAGE = "seconds_"


def accuracy_chart(rows: Rows, summary: dict[str, Any]) -> Chart | None:
    """Accuracy by round, with the untuned level; None without a score."""
    points = _points(rows, "accuracy")
    if not points:
        return None
    span = accuracy_limits([y for _, y in points])
    part = points[0][0] == 0 and points[0][1] != summary["accuracy_before"]
    return Chart(
        "Accuracy by round",
        f"On {'a part of what the numbers above are of: ' if part else ''}{in_words(summary, 'scored_on')}.",
        "round",
        "test accuracy",
        (Curve("after the round", points, 0),),
        as_whole,
        as_share(span),
        (Rule("before any training", points[0][1] if part else summary["accuracy_before"]),),
        span_y=span,
    )


def epsilon_chart(rows: Rows, summary: dict[str, Any]) -> Chart | None:
    """Epsilon spent by round in each view, with the one that was asked for; None where none holds or was recorded."""
    curves = []
    for look, view in enumerate(VIEWS if summary["privacy"]["private"] else ()):
        points = tuple((x, y) for x, y in _points(rows, f"epsilon_{view}") if y > 0)
        if points:
            curves.append(Curve(f"{view} view", points, look))
    if not curves:
        return None
    target = summary["config"]["privacy"].get("epsilon")
    asked = target is not None and not extrapolates(summary)
    return Chart(
        "Epsilon spent by round",
        "One curve for each adversary; smaller is more private, and each step of the axis is a multiple.",
        "round",
        "epsilon",
        tuple(curves),
        as_whole,
        as_epsilon,
        (Rule(f"asked for in the {bounded(summary)} view: {target:g}", target, dashed=False),) if asked else (),
        scale_y="log",
    )


def survivors_chart(rows: Rows, summary: dict[str, Any]) -> Chart | None:
    """Clients in the opened sum by round; None where they are all there all the time."""
    clients = summary["config"]["federation"]["clients"]
    points = tuple((x, y) for x, y in _points(rows, "survivors") if x)
    if not points or all(y == clients for _, y in points):
        return None
    least = summary["config"]["federation"].get("n_min") or clients
    return Chart(
        "Clients in the sum by round",
        f"Of {clients:,}; a sum of fewer than {least:,} is not opened.",
        "round",
        "clients",
        (Curve("in the opened sum", points, 0),),
        as_whole,
        as_whole,
        (Rule(f"fewest whose sum is opened: {least:,}", least),),
    )


def seconds_chart(rows: Rows) -> Chart | None:
    """Seconds a round, by stage where the metrics have stages; None for fewer than two rounds."""
    done = [row for row in rows if row["round"]]
    stages = sorted({key for row in done for key in row if key.startswith(_STAGE)})
    curves = [Curve("whole round", _points(done, "seconds"), 0)]
    curves += [Curve(key.removeprefix(_STAGE), _points(done, key), look) for look, key in enumerate(stages, 1)]
    if len(curves[0].points) < 2:
        return None
    values = [y for curve in curves for _, y in curve.points]
    return Chart(
        "Seconds a round",
        "Wall time on this machine, evaluation included; the first round also loads and prepares.",
        "round",
        "seconds",
        tuple(curves),
        as_whole,
        measured,
        scale_y="log" if min(values) > 0 and max(values) > 20 * min(values) else "linear",
    )


def _points(rows: Rows, key: str) -> tuple[tuple[float, float], ...]:
    return tuple((row["round"], row[key]) for row in rows if key in row)
