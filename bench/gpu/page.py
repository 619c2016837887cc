"""From what `bench.gpu` found to one Markdown page."""

from __future__ import annotations

import json

from bench.markdown import table
from bench.records import Part, Row

__all__ = ["gpu_page"]


def gpu_page(report: Part) -> str:
    """One Markdown page of what `bench.gpu` found."""
    lines = ["# On a GPU", "", f"{report['environment']}", ""]
    for name, seconds in report["seconds"].items():
        rows = report[name]
        lines += [f"## {name} ({seconds:.0f} s)", ""]
        if isinstance(rows, dict):
            lines += [f"    {json.dumps(rows)}", ""]
        elif rows:
            flat = [_flattened(row) for row in rows]
            header = list(dict.fromkeys(key for row in flat for key in row))
            lines += [*table(header, [[row.get(key, "") for key in header] for row in flat]), ""]
    return "\n".join(lines)


def _flattened(row: Row) -> dict[str, str]:
    """A row with its methods' most telling figures as columns: seconds and ratio, or counts and memory."""
    result = {key: f"{value:.4g}" if isinstance(value, float) else str(value) for key, value in row.items()}
    for name, figures in (row.get("methods") or {}).items():
        shown = ("seconds", "ratio") if "seconds" in figures else tuple(figures)
        result[name] = " / ".join(f"{figures[key]:.4g}" for key in shown)
    result.pop("methods", None)
    return result
