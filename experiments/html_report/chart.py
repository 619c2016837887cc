"""What a figure of the page shows: curves, rules and marks in one pair of axes; and where its ticks go.

Data and numbers only; `chart_svg` draws it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["Chart", "Curve", "Rule", "limits", "log_ticks", "ticks"]

Scale = Literal["linear", "log"]


@dataclass(frozen=True)
class Curve:
    """One curve.

    Attributes:
        name: in the key.
        points: (x, y), x ascending; at least one.
        look: which colour and dashes; curves of one look in several figures are of one kind.
        band: (x, least, most) between repetitions.
        spread: half the length of a bar at each point, as many as points, or none.
        marked: a mark at each point, for few points.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    look: int
    band: tuple[tuple[float, float, float], ...] = ()
    spread: tuple[float, ...] = ()
    marked: bool = False


@dataclass(frozen=True)
class Rule:
    """A level that curves are compared with."""

    name: str
    y: float
    dashed: bool = True


@dataclass(frozen=True)
class Chart:
    """A figure.

    Attributes:
        title: what it shows.
        about: a sentence below the title, or nothing.
        x, y: what the axes measure.
        curves: at least one.
        rules: levels to compare with.
        show_x, show_y: how a number is written at its axis and in the table.
        scale_x, scale_y: `linear` or `log`; with `log` all numbers are above 0.
        span_y: limits of the y axis; None: what is reached.
        x_ticks: where the x axis has ticks; None: at round numbers.
    """

    title: str
    about: str
    x: str
    y: str
    curves: tuple[Curve, ...]
    show_x: Callable[[float], str]
    show_y: Callable[[float], str]
    rules: tuple[Rule, ...] = ()
    scale_x: Scale = "linear"
    scale_y: Scale = "linear"
    span_y: tuple[float, float] | None = None
    x_ticks: tuple[float, ...] | None = None

    @property
    def whole_x(self) -> bool:
        """Whether there is nothing between whole numbers of x, such as rounds."""
        return all(x == round(x) for curve in self.curves for x, _ in curve.points)


def limits(values: Sequence[float], scale: Scale) -> tuple[float, float]:
    """Limits of an axis that shows all `values` with a margin, and is never without extent."""
    low, high = min(values), max(values)
    if scale == "log":
        margin = (high / low) ** 0.06 if high > low else 2.0
        return low / margin, high * margin
    margin = 0.06 * (high - low) if high > low else 0.5 * abs(high) or 1.0
    return (0.0 if 0 <= low < 0.5 * high else low - margin), high + margin


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers, of 1, 2 or 5 times a power of ten apart, between `low` and `high`; about `wanted` of them."""
    step = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(step))
    step = next(power * times for times in (1, 2, 5, 10) if power * times >= step)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten between `low` and `high`, some of them over many decades, with 2 and 5 times them over few.

    Over less than that: round numbers, as on a linear axis.
    """
    decades = math.log10(high / low)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (1, 2, 5) if decades < 2.5 else (1,)
    every = max(1, math.ceil(decades / 6))
    found = [
        times * 10.0**power
        for power in range(first, last + 1)
        if power % every == 0 or decades < 2.5
        for times in steps
    ]
    inside = [value for value in found if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]
    return inside if len(inside) > 1 else ticks(low, high)
