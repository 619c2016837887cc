"""What a benchmark found, as the JSON file from which its page is made.

A part has "environment", where and when it was measured, and "rows", in a list or by name; whatever else belongs to the
command. A file is replaced whole, so that an interruption leaves the old one or the new one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["Part", "Row", "add_environment", "load", "load_by_name", "store"]

Row = dict[str, Any]
Part = dict[str, Any]


def load(path: Path) -> Part:
    """The part in a file, or one without rows, in a list."""
    found: Part = json.loads(path.read_text()) if path.exists() else {"environment": [], "rows": []}
    return found


def load_by_name(path: Path) -> Part:
    """The part in a file, or one without rows, by name."""
    found = load(path)
    return found if found["rows"] else {**found, "rows": {}}


def add_environment(part: Part, line: str) -> None:
    """Note where and when rows that are added now are measured, beside what is noted already."""
    part["environment"] = list(dict.fromkeys([*part["environment"], line]))


def store(path: Path, part: Part) -> None:
    """Write a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(part, indent=1) + "\n")
    draft.replace(path)
