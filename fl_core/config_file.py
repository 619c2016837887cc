"""Configurations as files: YAML plus `key=value` overrides in, the resolved YAML out.

Takes a file and overrides; gives a `RunConfig` in which every key is known, typed and possible together with the
others. It must never fill in a value that changes privacy without saying so.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml  # type: ignore[import-untyped]
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException, ValidationError

from fl_core.config import ConfigError, RunConfig
from fl_core.config_check import check
from fl_core.config_hints import allowed_words, keys_called, origin
from fl_core.first_line import first_line
from fl_core.storage import write_atomically

__all__ = ["first_difference", "load_config", "load_yaml", "merge_into", "parse_config", "save_config", "to_dict"]

Schema = TypeVar("Schema")

_MAX_BYTES = 2**22
_MAX_DEPTH = 20  # levels; a configuration has four
_PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load_config(path: Path, overrides: list[str]) -> RunConfig:
    """Read `path`, apply `key=value` overrides, check everything.

    Raises:
        ConfigError: one sentence naming the key and what is allowed.
    """
    return parse_config(load_yaml(path), overrides, str(path))


def load_yaml(path: Path) -> DictConfig:
    """A YAML mapping from disk.

    Raises:
        ConfigError: if the file is missing, unreadable, not YAML, or not a mapping.
    """
    try:
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "does not exist"
            raise ConfigError(f"config {path} {what}; give the path of a YAML file")
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise ConfigError(f"config {path} is larger than {_MAX_BYTES // 2**20} MiB; give the path of a YAML file")
        _refuse_bombs(content.decode(), f"config {path}")
        loaded = OmegaConf.load(path)
    except OSError as error:
        raise ConfigError(f"config {path} cannot be read: {error.strerror or error}") from None
    except ConfigError:
        raise
    except Exception as error:  # yaml's and OmegaConf's own errors share no base class
        raise ConfigError(f"config {path} is not valid YAML: {first_line(error)}") from None
    if isinstance(loaded, ListConfig):
        raise ConfigError(f"config {path} holds a list; it must be a mapping of sections such as data, privacy")
    assert isinstance(loaded, DictConfig)
    return loaded


def parse_config(loaded: DictConfig, overrides: list[str], where: str) -> RunConfig:
    """Merge a loaded mapping and overrides into a run's schema; `where` names the source in errors.

    Raises:
        ConfigError: as `load_config`.
    """
    config = merge_into(RunConfig, loaded, overrides, where)
    check(config, where, overrides)
    return config


def merge_into(schema: type[Schema], loaded: DictConfig, overrides: list[str], where: str) -> Schema:
    """A dataclass `schema` filled from a loaded mapping and `key=value` overrides, every key known and typed.

    Raises:
        ConfigError: for an unknown key or a value of another type; what values are possible is the caller's to check.
    """
    for item in overrides:
        key, sign, value = item.partition("=")
        if not sign or not key:
            raise ConfigError(f"override {item!r} is not key=value, for example {_example(schema)}")
        _check_known_key(schema, key, f"override {item!r}")
        try:
            _refuse_bombs(value, f"override {item!r}")
        except yaml.YAMLError as error:
            raise ConfigError(f"override {item!r} has no value of YAML: {first_line(error)}") from None
    _check_known(loaded, schema, where, "")
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), loaded, OmegaConf.from_dotlist(overrides))
        config = OmegaConf.to_object(merged)
        OmegaConf.structured(config)  # merging lets a mapping into a list of texts, and no run could save it
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or "?"
        allowed = allowed_words(schema, key) if isinstance(error, ValidationError) else ""
        cause = f"{key} takes no such value; allowed: {allowed}" if allowed else f"key {key}: {first_line(error)}"
        raise ConfigError(f"{origin(key, overrides, where)}: {cause}") from None
    except Exception as error:  # malformed override values reach yaml's own exceptions
        raise ConfigError(f"{where}: overrides {overrides}: {first_line(error)}") from None
    assert isinstance(config, schema)
    return config


def to_dict(config: Any) -> dict[str, Any]:
    """The resolved configuration as plain Python data."""
    plain = OmegaConf.to_container(OmegaConf.structured(config))
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def first_difference(ours: Any, theirs: Any, prefix: str = "") -> tuple[str, Any, Any] | None:
    """The first key in which two plain configurations differ, with both values."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted({*ours, *theirs}):
            found = first_difference(ours.get(key), theirs.get(key), f"{prefix}{key}.")
            if found:
                return found
        return None
    return None if ours == theirs else (prefix.rstrip("."), ours, theirs)


def save_config(config: Any, path: Path) -> None:
    """Write the resolved configuration as YAML, on disk before returning: a run cannot be resumed without it.

    Raises:
        StorageError: if it cannot be written.
    """
    write_atomically(path, OmegaConf.to_yaml(OmegaConf.structured(config)).encode())


def _refuse_bombs(text: str, where: str) -> None:
    """Refuse YAML that the parser may not survive: aliases, which can stand for any amount of memory, and nesting so
    deep that a parser in C runs out of its stack.

    Raises:
        ConfigError: naming the line.
        yaml.YAMLError: for what is no YAML.
    """
    depth = 0
    events: Iterator[Any] = yaml.parse(text, Loader=_PARSER)
    for event in events:
        if isinstance(event, yaml.AliasEvent):
            line = event.start_mark.line + 1
            raise ConfigError(f"{where}, line {line}: aliases are not read; write the value itself")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            line = event.start_mark.line + 1
            raise ConfigError(f"{where}, line {line}: nested more than {_MAX_DEPTH} levels deep")


def _check_known_key(root: type, key: str, where: str) -> None:
    schema: Any = root
    for depth, part in enumerate(key.split(".")):
        path = ".".join(key.split(".")[: depth + 1])
        if not (isinstance(schema, type) and is_dataclass(schema)):
            raise ConfigError(f"{where}: {path} is below a plain value; allowed: {path.rpartition('.')[0]}=value")
        schema = _require_field(schema, part, path, where)


def _check_known(node: DictConfig, schema: type, where: str, prefix: str) -> None:
    for key in node:
        path = f"{prefix}{key!s}"
        inner = _require_field(schema, str(key), path, where)
        value = node._get_node(str(key))
        if isinstance(inner, type) and is_dataclass(inner):
            if not isinstance(value, DictConfig):
                raise ConfigError(f"{where}: {path} must be a section with keys {_names(inner)}")
            _check_known(value, inner, where, f"{path}.")


def _require_field(schema: type, name: str, path: str, where: str) -> Any:
    for item in fields(schema):
        if item.name == name:
            factory: Any = item.default_factory
            return factory if is_dataclass(factory) else None
    close = difflib.get_close_matches(name, [item.name for item in fields(schema)], n=1)
    meant = keys_called(schema, name) or close  # a key without its section, or mistyped
    hint = f"did you mean {' or '.join(meant)}? " if meant else ""
    raise ConfigError(f"{where}: unknown key {path}; {hint}allowed: {_names(schema)}")


def _example(schema: type) -> str:
    """Some `key=value` of the schema: the first plain number below a section, for a user to copy the form of."""
    for section in fields(schema):
        factory: Any = section.default_factory
        for item in fields(factory) if is_dataclass(factory) else ():
            if isinstance(item.default, int) and not isinstance(item.default, bool):
                return f"{section.name}.{item.name}={item.default}"
    return "section.key=value"


def _names(schema: type) -> str:
    return ", ".join(item.name for item in fields(schema))
