"""Quantities side by side as bars, each with name and value in words, so that the bar itself says nothing new."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from experiments.html_report.markup import Html, element
from experiments.html_report.palette import CURVES

__all__ = ["bars"]


def bars(
    title: str, about: str, values: Sequence[tuple[str, float]], show: Callable[[float], str], look: int = 0
) -> Html:
    """A figure with one bar a (name, value); values are 0 or more."""
    most = max(value for _, value in values) or 1.0
    items = [
        element(
            "li",
            element("p", element("span", name), element("span", show(value), class_="value"), class_="name"),
            element(
                "svg",
                element("rect", width=round(100 * value / most, 2), height=3, class_=f"f{look % CURVES}"),
                viewBox="0 0 100 3",
                preserveAspectRatio="none",
                aria_hidden="true",
            ),
        )
        for name, value in values
    ]
    caption = element("figcaption", element("h3", title), element("p", about) if about else None)
    return element("figure", caption, element("ul", *items, class_="bars"))
