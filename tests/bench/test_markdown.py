"""Cells of a table are text, whatever they hold."""

from __future__ import annotations

from bench.markdown import table


def test_a_table_has_a_line_for_its_header_one_for_markdown_and_one_for_each_row():
    assert table(["a", "b"], [[1, "x|y"], (2.5, "")]) == ["| a | b |", "|---|---|", r"| 1 | x\|y |", "| 2.5 |  |"]
