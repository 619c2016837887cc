"""A run's configuration for readers: what differs from the defaults, and the whole of it as YAML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml  # type: ignore[import-untyped]

from fl_core.config import RunConfig
from fl_core.config_file import to_dict

__all__ = ["as_yaml", "changed", "flat", "varying"]


def flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """`section.key` and value, of every key; an empty mapping is a value."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            found |= flat(value, f"{name}.")
        else:
            found[name] = value
    return found


def changed(config: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """(key, value, default) of every key that differs from its default now; None for a key without one."""
    usual = flat(to_dict(RunConfig()))
    return [
        (key, value, usual.get(key)) for key, value in flat(config).items() if key not in usual or usual[key] != value
    ]


def varying(configs: Sequence[dict[str, Any]]) -> list[str]:
    """Keys that are not the same in all configurations, in the order of their first appearance."""
    every = [flat(config) for config in configs]
    keys = dict.fromkeys(key for one in every for key in one)
    return [key for key in keys if any(one.get(key) != every[0].get(key) for one in every)]


def as_yaml(config: dict[str, Any]) -> str:
    """The whole configuration, as `config.yaml` has it."""
    return str(yaml.safe_dump(config, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100))
