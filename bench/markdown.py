"""Markdown as the pages of all benchmarks have it: a table, and the lines that say where and when it was measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["measured", "table"]


def table(header: Sequence[object], rows: Iterable[Sequence[object]]) -> list[str]:
    """The lines of a table; a cell is text, whatever characters it holds."""
    return [_line(header), "|" + "---|" * len(header), *map(_line, rows)]


def measured(environment: Iterable[str]) -> list[str]:
    """A line for each `bench.measure.environment` in which a page's figures were measured."""
    return [f"Measured: {line}." for line in environment]


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(str(cell).replace("|", r"\|") for cell in cells) + " |"
