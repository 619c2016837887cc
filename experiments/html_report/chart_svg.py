"""Figures as inline SVG in the page's colours, each with a text alternative, a key and its numbers as a table.

Takes a `Chart`; gives an element. Drawn for the width of a phone, so that its text is as large as the page's there.
Colour is never the only mark of a curve.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from experiments.figures import dash_of
from experiments.html_report.chart import Chart, Curve, limits, log_ticks, ticks
from experiments.html_report.markup import Html, element, joined
from experiments.html_report.palette import CURVES
from experiments.html_report.tables import folded, table

__all__ = ["draw"]

_WIDTH, _HEIGHT = 340, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 24, 36

_DASHES = (None, "7 4", "2 4", "9 4 2 4")
_MOST_ROWS = 26  # of the table below a figure


@dataclass(frozen=True)
class _Frame:
    """From numbers to places in the drawing."""

    x: tuple[float, float]
    y: tuple[float, float]
    log_x: bool
    log_y: bool

    def at_x(self, value: float) -> float:
        return round(_LEFT + _share(value, self.x, self.log_x) * (_WIDTH - _LEFT - _RIGHT), 1)

    def at_y(self, value: float) -> float:
        return round(_HEIGHT - _BOTTOM - _share(value, self.y, self.log_y) * (_HEIGHT - _TOP - _BOTTOM), 1)


def draw(chart: Chart, name: str) -> Html:
    """The figure with its title, key and table; `name` is its id, of letters and hyphens."""
    curves = chart.curves
    key = [element("li", _sample(curve), element("span", curve.name)) for curve in curves]
    key += [element("li", _rule_sample(rule.dashed), element("span", rule.name)) for rule in chart.rules]
    return element(
        "figure",
        element(
            "figcaption",
            element("h3", chart.title, id=f"{name}-title"),
            element("p", chart.about) if chart.about else None,
        ),
        _svg(chart, name),
        element("ul", *key, class_="key") if len(key) > 1 else None,
        folded("The numbers", _numbers(chart)),
    )


def _svg(chart: Chart, name: str) -> Html:
    frame = _frame(chart)
    return element(
        "svg",
        element("title", chart.title, id=f"{name}-name"),
        element("desc", _described(chart), id=f"{name}-text"),
        _grid(chart, frame),
        *(_rule(frame, rule.y, rule.dashed) for rule in chart.rules),
        _clipped(joined(*(_curve(frame, curve) for curve in chart.curves)), name),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_labelledby=f"{name}-name {name}-text",
    )


def _clipped(curves: Html, name: str) -> Html:
    """Curves without what lies outside of the axes, but for half of a mark."""
    room = element(
        "rect", x=_LEFT - 5, y=_TOP - 5, width=_WIDTH - _LEFT - _RIGHT + 10, height=_HEIGHT - _TOP - _BOTTOM + 10
    )
    clip = element("clipPath", room, id=f"{name}-room")
    return joined(clip, element("g", curves, clip_path=f"url(#{name}-room)"))


def _frame(chart: Chart) -> _Frame:
    xs = [x for curve in chart.curves for x, _ in curve.points]
    ys = [y for curve in chart.curves for _, y in curve.points] + [rule.y for rule in chart.rules]
    for curve in chart.curves:
        ys += [y for _, low, high in curve.band for y in (low, high)]
        around = zip(curve.points, curve.spread, strict=False)
        ys += [y + sign * half for (_, y), half in around for sign in (-1, 1)]
    if chart.scale_y == "log":
        ys = [y for y in ys if y > 0]
    span_x = limits(xs, chart.scale_x) if chart.scale_x == "log" or min(xs) == max(xs) else (min(xs), max(xs))
    return _Frame(span_x, chart.span_y or limits(ys, chart.scale_y), chart.scale_x == "log", chart.scale_y == "log")


def _grid(chart: Chart, frame: _Frame) -> Html:
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    parts = []
    for value in log_ticks(*frame.y) if frame.log_y else ticks(*frame.y):
        y = frame.at_y(value)
        parts.append(element("path", d=f"M{_LEFT} {y}H{right}", class_="grid"))
        parts.append(element("text", chart.show_y(value), x=_LEFT - 5, y=y + 4, text_anchor="end"))
    along = chart.x_ticks or (log_ticks(*frame.x) if frame.log_x else ticks(*frame.x))
    if chart.whole_x:
        along = [value for value in along if abs(value - round(value)) < 1e-9]
    for value in along:
        x = frame.at_x(value)
        # The outermost labels stay inside the drawing.
        anchor = "end" if x > right - 8 else "middle"
        parts.append(element("path", d=f"M{x} {bottom}v4", class_="axis"))
        parts.append(element("text", chart.show_x(value), x=x, y=bottom + 16, text_anchor=anchor))
    parts.append(element("path", d=f"M{_LEFT} {bottom}H{right}", class_="axis"))
    parts.append(element("text", chart.y, x=2, y=11))
    parts.append(element("text", chart.x, x=right, y=_HEIGHT - 4, text_anchor="end"))
    return joined(*parts)


def _curve(frame: _Frame, curve: Curve) -> Html:
    points = [(x, y) for x, y in curve.points if y > 0 or not frame.log_y]
    colour, parts = curve.look % CURVES, []
    if curve.band:
        there = [f"{frame.at_x(x)} {frame.at_y(high)}" for x, _, high in curve.band]
        back = [f"{frame.at_x(x)} {frame.at_y(low)}" for x, low, _ in reversed(curve.band)]
        parts.append(element("path", d="M" + "L".join(there + back) + "Z", class_=f"spread f{colour}"))
    line = "L".join(f"{frame.at_x(x)} {frame.at_y(y)}" for x, y in points)
    if len(points) > 1:
        parts.append(element("path", d=f"M{line}", class_=f"curve c{colour}", stroke_dasharray=_dashes(curve.look)))
    for (x, y), half in zip(points, curve.spread, strict=False):
        if half:
            d = f"M{frame.at_x(x)} {frame.at_y(y - half)}V{frame.at_y(y + half)}"
            parts.append(element("path", d=d, class_=f"whisker c{colour}"))
    if curve.marked or len(points) == 1:
        parts += [_mark(frame.at_x(x), frame.at_y(y), curve.look) for x, y in points]
    return joined(*parts)


def _mark(x: float, y: float, look: int) -> Html:
    """A square, a disc or a triangle, by look."""
    shapes = (
        f"M{x - 4} {y - 4}h8v8h-8Z",
        f"M{x - 4.5} {y}a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0Z",
        f"M{x - 5} {y - 4}h10l-5 9Z",
    )
    return element("path", d=shapes[look % len(shapes)], class_=f"f{look % CURVES}")


def _rule(frame: _Frame, y: float, dashed: bool) -> Html:
    place = frame.at_y(y)
    d = f"M{_LEFT} {place}H{_WIDTH - _RIGHT}"
    return element("path", d=d, class_="rule", stroke_dasharray="2 4" if dashed else None)


def _sample(curve: Curve) -> Html:
    """The curve's look, for the key; its name stands beside it."""
    line = element("path", d="M2 12H34", class_=f"curve c{curve.look % CURVES}", stroke_dasharray=_dashes(curve.look))
    mark = _mark(18, 12, curve.look) if curve.marked else None
    return element("svg", line, mark, viewBox="0 0 36 24", aria_hidden="true")


def _rule_sample(dashed: bool) -> Html:
    line = element("path", d="M2 12H34", class_="rule", stroke_dasharray="2 4" if dashed else None)
    return element("svg", line, viewBox="0 0 36 24", aria_hidden="true")


def _dashes(look: int) -> str | None:
    return _DASHES[dash_of(look, CURVES, len(_DASHES))]


def _described(chart: Chart) -> str:
    """The figure for who does not see it: each curve's ends and the levels."""
    parts = [f"{chart.y} by {chart.x}."]
    for curve in chart.curves:
        (x0, y0), (x1, y1) = curve.points[0], curve.points[-1]
        first = f"{curve.name}: {chart.show_y(y0)} at {chart.show_x(x0)}"
        parts.append(f"{first}." if len(curve.points) == 1 else f"{first}, {chart.show_y(y1)} at {chart.show_x(x1)}.")
    parts += [f"{rule.name}: {chart.show_y(rule.y)}." for rule in chart.rules]
    return " ".join(parts)


def _numbers(chart: Chart) -> Html:
    xs = sorted({x for curve in chart.curves for x, _ in curve.points})
    every = math.ceil(len(xs) / _MOST_ROWS)
    shown = _thinned(xs, every)
    values = [dict(curve.points) for curve in chart.curves]
    rows = [[chart.show_x(x), *(chart.show_y(one[x]) if x in one else "–" for one in values)] for x in shown]
    caption = chart.title + (f", one {chart.x} in {every}" if every > 1 else "")
    return table(caption, [chart.x, *(curve.name for curve in chart.curves)], rows)


def _thinned(xs: Sequence[float], every: int) -> list[float]:
    """Every so many of them, the last one always."""
    shown = list(xs[::every])
    return shown if shown[-1] == xs[-1] else [*shown, xs[-1]]


def _share(value: float, span: tuple[float, float], log: bool) -> float:
    low, high = span
    if log:
        return math.log(value / low) / math.log(high / low)
    return (value - low) / (high - low)
