"""Files that other organisations wrote: a small, safe part of YAML in, plain data out.

Mappings with text or whole-number keys, lists, text, whole numbers, decimals, true/false and null; at most a few
levels deep and `MAX_BYTES` long. Tags, anchors, aliases, merges, repeated keys, second documents and private keys are
refused. It builds no object from what a file names: only the parser of PyYAML is used, none of its constructors.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from secagg.deployment.checks import DeploymentError, shown
from secagg.deployment.new_files import write_new

__all__ = ["MAX_BYTES", "check_keys", "check_mapping", "kind", "read_yaml", "write_yaml"]

MAX_BYTES = 128 * 2**20  # a roster of a million clients is 80
_MAX_DEPTH = 6
_PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
# Narrower than YAML 1.1 (no octal, no base 60, no dates): text that a YAML writer left unquoted stays text here.
_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,18})", re.ASCII)
_DECIMAL = re.compile(r"-?[0-9]{1,18}\.[0-9]{0,18}(e[-+][0-9]{1,3})?", re.ASCII)
_PLAIN = re.compile(r"[A-Za-z0-9_.-]{1,60}", re.ASCII)
_NO_KEY = object()
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}


def read_yaml(path: Path) -> dict[Any, Any]:
    """The mapping that a file holds.

    Raises:
        DeploymentError: one sentence naming the file, if it is missing, unreadable, too large, holds a private key,
            or is not a mapping in the part of YAML that is allowed.
    """
    text = _text(path)
    if "PRIVATE KEY-----" in text:
        raise DeploymentError(
            f"{path} holds a private key; allowed: public keys and certificates (hand over cards, which hold "
            "nothing else, and make new keys if this file has left its owner)"
        )
    try:
        value = _document(yaml.parse(text, Loader=_PARSER), path)
    except yaml.YAMLError as error:
        raise DeploymentError(f"{path} is not valid YAML: {_where(error)}") from None
    if not isinstance(value, dict):
        raise DeploymentError(f"{path} holds {kind(value)}; it must be a mapping of keys and values")
    return value


def write_yaml(value: Mapping[str, Any], path: Path) -> None:
    """Write plain data so that `read_yaml` gives it back.

    Raises:
        DeploymentError: if the file exists (it may be all that is left of a deployment) or cannot be written.
    """
    text = yaml.dump(dict(value), Dumper=_PlainDumper, sort_keys=False, allow_unicode=True)
    write_new(path, text.encode(), 0o644)


def check_keys(section: Mapping[Any, Any], required: Collection[str], optional: Collection[str], where: str) -> None:
    """Refuse what a section must not have or lacks; `where` ends in ": " or "." and is put before the key."""
    allowed = [*required, *optional]
    for key in section:
        if key not in allowed:
            close = difflib.get_close_matches(str(key)[:60], allowed, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise DeploymentError(f"{where}{_named(key)} is an unknown key; {hint}allowed: {', '.join(allowed)}")
    for key in required:
        if key not in section:
            raise DeploymentError(f"{where}{key} is missing")


def check_mapping(value: object, where: str) -> dict[Any, Any]:
    """A section as read from a file.

    Raises:
        DeploymentError: if it is anything else.
    """
    if not isinstance(value, dict):
        raise DeploymentError(f"{where} is {kind(value)}; it must be a mapping of keys and values")
    return value


def kind(value: object) -> str:
    """What a value is, in the words of a file's author."""
    if isinstance(value, bool) or value is None:
        return "null" if value is None else str(value).lower()
    names = {dict: "a mapping", list: "a list", str: "text", int: "a whole number", float: "a decimal number"}
    return names[type(value)]


class _PlainDumper(_DUMPER):  # type: ignore[misc]
    """Certificates as blocks that can be compared by eye, and no aliases."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _block(dumper: Any, text: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_PlainDumper.add_representer(str, _block)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise DeploymentError(f"{path} does not exist") from None
    except OSError as error:
        raise DeploymentError(f"{path} cannot be read: {error.strerror}") from None
    if len(raw) > MAX_BYTES:
        raise DeploymentError(f"{path} is larger than {MAX_BYTES // 2**20} MiB, the most that is read")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise DeploymentError(f"{path} is not text in UTF-8") from None


def _document(events: Iterator[Any], path: Path) -> Any:
    """The only document's value, built without recursion."""
    stack: list[Any] = []
    keys: list[Any] = []  # for every open mapping its pending key
    result: Any = None
    documents = 0
    for event in events:
        documents += isinstance(event, yaml.DocumentStartEvent)
        line = event.start_mark.line + 1
        if documents > 1:
            raise DeploymentError(f"{path} line {line}: a second document begins; allowed: one")
        if isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            stack.pop()
            keys.pop()
            continue
        if not isinstance(event, yaml.NodeEvent):
            continue
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None or event.tag is not None:
            raise DeploymentError(f"{path} line {line}: anchors, aliases and tags are not read; write the value itself")
        value = _value(event)
        if not stack:
            result = value
        elif isinstance(stack[-1], list):
            stack[-1].append(value)
        elif keys[-1] is _NO_KEY:
            keys[-1] = _key(value, stack[-1], f"{path} line {line}")
        else:
            stack[-1][keys[-1]] = value
            keys[-1] = _NO_KEY
        if isinstance(value, dict | list):
            if len(stack) == _MAX_DEPTH:
                raise DeploymentError(f"{path} line {line}: nested more than {_MAX_DEPTH} levels deep")
            stack.append(value)
            keys.append(_NO_KEY)
    return result


def _named(key: object) -> str:
    """A key as its author wrote it, unless it could upset a terminal."""
    return str(key) if _PLAIN.fullmatch(str(key)) else shown(key)


def _value(event: Any) -> Any:
    if isinstance(event, yaml.MappingStartEvent):
        return {}
    if isinstance(event, yaml.SequenceStartEvent):
        return []
    text = str(event.value)
    if not event.implicit[0]:  # quoted or a block
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) else text


def _key(value: Any, mapping: dict[Any, Any], where: str) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise DeploymentError(f"{where}: a key is {kind(value)}; allowed: text or a whole number")
    if value in mapping:
        raise DeploymentError(f"{where}: {_named(value)} is given twice")
    return value


def _where(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or "it holds a character that YAML does not allow"
    return f"{problem} (line {mark.line + 1})" if mark is not None else str(problem)
