"""Which configurations are possible: ranges of single values, and values that exclude each other.

Takes a typed `RunConfig`; gives nothing, or one sentence that names the key, its value and what is allowed. It must
never correct a value.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from fl_core.config import RunConfig
from fl_core.config_check.aggregation import check_aggregation, check_noise, check_simulation
from fl_core.config_check.engines import check_engines
from fl_core.config_check.privacy import check_privacy
from fl_core.config_check.refusals import refusing
from fl_core.config_check.training import check_data, check_federation, check_training
from fl_core.config_check.words import check_words

__all__ = ["check"]

# In this order the first problem is told: a rule may rely on those before it.
_RULES = (
    check_words,
    check_data,
    check_federation,
    check_privacy,
    check_noise,
    check_aggregation,
    check_simulation,
    check_training,
    check_engines,
)


def check(config: RunConfig, where: str, overrides: Sequence[str] = ()) -> None:
    """Refuse values out of range and combinations that cannot be.

    Args:
        config: as it was read.
        where: what it was read from, for the sentence.
        overrides: `key=value` that came on top of it, named in the place of `where` if one is the problem.

    Raises:
        ConfigError: on the first problem found.
    """
    need = refusing(where, overrides)
    for rule in _RULES:
        rule(config, need)
    need(config.tracking.project.strip() != "", "tracking.project", "empty", "a name")
    for key, value in _floats(asdict(config)):  # what no rule above is about
        need(math.isfinite(value), key, value, "a finite number")


def _floats(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Every number that is no integer, by its key."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _floats(value, f"{prefix}{key}.")
        elif isinstance(value, float):
            yield prefix + key, value
