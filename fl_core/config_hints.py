"""What a mistaken configuration was meant to be: where a value came from, what a key takes, which key was meant.

Takes a schema of nested dataclasses, and names; gives words for sentences. It never refuses and never corrects.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

__all__ = ["allowed_words", "keys_called", "origin"]

_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def origin(key: str, overrides: Sequence[str], where: str) -> str:
    """The override that gave a key its value, or `where` for the file; `key` may name several, in words."""
    named = [item for item in overrides if item.partition("=")[0] in key.split()]
    return f"override {named[-1]!r}" if named else where


def allowed_words(schema: type, key: str) -> str:
    """What a key takes, such as `a number, or null`; empty for what is no plain key of the schema."""
    found: Any = schema
    for part in key.split("."):
        hints = get_type_hints(found) if isinstance(found, type) and is_dataclass(found) else {}
        found = hints.get(part)
    return _kind(found)


def keys_called(schema: type, name: str) -> list[str]:
    """Keys of the schema whose last part is `name`."""
    return [key for key in _keys(schema, "") if key.rpartition(".")[2] == name]


def _keys(schema: type, prefix: str) -> Iterator[str]:
    for item in fields(schema):
        factory: Any = item.default_factory
        if isinstance(factory, type) and is_dataclass(factory):
            yield from _keys(factory, f"{prefix}{item.name}.")
        else:
            yield f"{prefix}{item.name}"


def _kind(hint: Any) -> str:
    if get_origin(hint) in (Union, types.UnionType):
        kinds = [_kind(one) for one in get_args(hint) if one is not type(None)]
        return f"{' or '.join(kinds)}, or null" if all(kinds) else ""
    if get_origin(hint) is list:
        return "a list such as [a,b]"
    return _WORDS.get(hint, "")
