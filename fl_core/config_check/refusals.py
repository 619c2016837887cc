"""How a configuration is refused: one sentence with the key, its value and what is allowed.

Gives the few forms that all rules are written in. None of them ever corrects a value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from fl_core.config import ConfigError
from fl_core.config_hints import origin

__all__ = ["Condition", "Need", "need_all", "positive", "refusing"]

# Refuses unless its first argument holds: condition, key, value, what is allowed.
Need = Callable[[bool, str, object, str], None]
# What a value needs of other keys: whether it is so, what is so instead, and what would do.
Condition = tuple[bool, str, str]


def refusing(where: str, overrides: Sequence[str] = ()) -> Need:
    """A `Need` whose sentences begin with the override that gave a key its value, or with `where`, the configuration's
    file or name; it raises ConfigError."""

    def need(condition: bool, key: str, value: object, allowed: str) -> None:
        if not condition:
            raise ConfigError(f"{origin(key, overrides, where)}: {key} is {value}; allowed: {allowed}")

    return need


def need_all(need: Need, key: str, value: object, otherwise: str, conditions: Iterable[Condition]) -> None:
    """Refuse a value of `key` that does not go with other keys' values.

    Args:
        need: refuses.
        key, value: what was asked for.
        otherwise: the value of `key` that is possible whatever the other keys say.
        conditions: what the value needs of the others.
    """
    for possible, because, instead in conditions:
        need(possible, key, f"{value} while {because}", f"{otherwise}, or {instead}")


def positive(value: float) -> bool:
    """Whether it is a finite number above 0."""
    return math.isfinite(value) and value > 0
