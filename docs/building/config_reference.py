"""The reference of a run's configuration: keys, types, defaults and comments from `fl_core/config.py`, and what values
are allowed from the sentences with which the check refuses others. Nothing of it is written a second time by hand.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from fl_core import config as configuration
from fl_core.config import ConfigError, RunConfig
from fl_core.config_check import check

__all__ = ["Key", "config_reference", "keys_of"]

_SOURCE = Path(configuration.__file__)
_TRIED: tuple[Any, ...] = ("?", "", -1, 0, 10**9, -1.0, 0.0, 2.0, float("inf"), [], [-1])


@dataclass(frozen=True)
class Key:
    """One key: its type and default as written, what is said about it, and which values are allowed."""

    name: str
    kind: str
    default: str
    comment: str
    allowed: str


def config_reference() -> str:
    """Every section with its keys, as Markdown."""
    lines: list[str] = []
    for name, schema in _sections(RunConfig, ""):
        lines += [f"## {name}\n", f"{(schema.__doc__ or '').strip()}\n"]
        lines += ["| key, type and default | meaning | allowed |", "|---|---|---|"]
        for key in keys_of(name, schema):
            # Under each other, so that the meaning is in sight on a narrow screen.
            first = f"`{key.name}`<br>{_cell(key.kind)} {_cell(f'`{key.default}`')}"
            lines.append(f"| {first} | {_cell(key.comment)} | {_cell(key.allowed)} |")
        lines.append("")
    return "\n".join(lines)


def _sections(schema: type, prefix: str) -> Iterator[tuple[str, type]]:
    for item in fields(schema):
        factory: Any = item.default_factory
        if isinstance(factory, type) and is_dataclass(factory):
            yield f"{prefix}{item.name}", factory
            yield from _sections(factory, f"{prefix}{item.name}.")


def keys_of(section: str, schema: type) -> Iterator[Key]:
    """The plain keys of a section, in their order."""
    source = _SOURCE.read_text()
    lines = source.splitlines()
    (node,) = (one for one in ast.parse(source).body if isinstance(one, ast.ClassDef) and one.name == schema.__name__)
    inner = {item.name for item in fields(schema) if is_dataclass(item.default_factory)}
    written = [one for one in node.body if isinstance(one, ast.AnnAssign)]
    for one, following in zip(written, [*written[1:], None], strict=True):
        assert isinstance(one.target, ast.Name)
        assert one.value is not None
        assert one.end_lineno is not None
        if one.target.id in inner:
            continue
        above = _above(lines, one.lineno - 1)
        beside = lines[one.end_lineno - 1][one.end_col_offset :].strip().removeprefix("#").strip()
        below = _continued(lines, one.end_lineno) if following is not None else ""
        comment = " ".join(part for part in (above, beside, below) if part)
        default = ast.unparse(one.value)
        if default.startswith("field("):
            default = str(getattr(schema(), one.target.id))
        name = f"{section}.{one.target.id}"
        yield Key(name, ast.unparse(one.annotation), default, comment, allowed(name))


def _above(lines: list[str], first: int) -> str:
    """The comment that stands right above a key, without what goes on from the key before (in brackets)."""
    found: list[str] = []
    while first > 0 and lines[first - 1].strip().startswith("#"):
        first -= 1
        found.insert(0, lines[first].strip().removeprefix("#").strip())
    text = " ".join(found)
    return re.sub(r"^\(.*?\)\s*", "", text) if text.startswith("(") else text


def _continued(lines: list[str], after: int) -> str:
    text = lines[after].strip() if after < len(lines) else ""
    return text.removeprefix("#").strip() if text.startswith("# (") else ""


def allowed(name: str) -> str:
    """What the check says is allowed when it refuses a value of this key alone; nothing if it refuses none."""
    *path, last = name.split(".")
    start = replace(RunConfig(), privacy=replace(RunConfig().privacy, epsilon=8.0))
    now = start
    for part in path:
        now = getattr(now, part)
    kind = type(getattr(now, last))
    for value in _TRIED:
        if kind is not type(None) and not (isinstance(value, kind) or (kind is float and isinstance(value, int))):
            continue
        if kind is bool or (kind is type(None) and not isinstance(value, int | float)):
            continue
        changed: Any = replace(now, **{last: value})
        for depth in range(len(path) - 1, -1, -1):
            outer: Any = start
            for part in path[:depth]:
                outer = getattr(outer, part)
            changed = replace(outer, **{path[depth]: changed})
        try:
            check(changed, "")
        except ConfigError as refused:
            found = re.match(rf": {re.escape(name)} is .*; allowed: (.*)$", str(refused))
            if found and found.group(1) != "a finite number":  # which goes without saying
                return found.group(1)
        except Exception:  # noqa: S112 - a value that no file could give
            continue
    return ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "\\<").replace("*", "\\*")
