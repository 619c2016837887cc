"""What a report may rely on in a run's `summary.json`, whoever wrote it: checked once, where it is read.

Takes what JSON gave and where it was; gives it back, or a sentence. Keys that later runs added may be missing: what is
missing then is said where it is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from fl_core.privacy.views import VIEWS
from secagg.errors import SottoError

__all__ = ["check_curve", "check_summary", "writable"]

_LARGEST_COUNT = 10**12
_DRAWN = ("epsilon_", "seconds", "survivors")  # beginnings of the keys of rows that become curves
_DEEPEST = 12  # sections in one another: a configuration has four


def _number(value: object) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300 and math.isfinite(value)
    )


def _count(value: object) -> bool:
    return type(value) is int and 0 <= value <= _LARGEST_COUNT


def writable(value: object) -> bool:
    """Text that can be written and drawn: JSON may hold half a surrogate pair, which is no character."""
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(map(writable, value))


def _section(value: object) -> bool:
    return isinstance(value, dict)


def _numbers(value: object) -> bool:
    return isinstance(value, dict) and all(map(_number, value.values()))


def _above_zero(value: object) -> bool:
    return _number(value) and value > 0  # type: ignore[operator]


def _at_least_zero(value: object) -> bool:
    return _number(value) and value >= 0  # type: ignore[operator]


def _share(value: object) -> bool:
    return _number(value) and 0 <= value <= 1  # type: ignore[operator]


def _truth(value: object) -> bool:
    return isinstance(value, bool)


def _shallow(value: object, levels: int = _DEEPEST) -> bool:
    """A section that can be written out: neither deep beyond any configuration, nor with text that is none."""
    if isinstance(value, dict):
        return levels > 0 and all(writable(key) and _shallow(one, levels - 1) for key, one in value.items())
    if isinstance(value, list):
        return levels > 0 and all(_shallow(one, levels - 1) for one in value)
    return not isinstance(value, str) or writable(value)


def _one_of(*allowed: str) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str) and value in allowed


def _or_null(check: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or check(value)


_NEEDED: dict[str, Callable[[object], bool]] = {
    "data": writable,
    "source": writable,
    "records": _count,
    "parameters": _count,
    "ended": writable,
    "rounds_done": _count,
    "seconds_rounds": _number,
    "notes": _texts,
    "accuracy_before": _share,
    "accuracy_after": _share,
    "bytes_per_client": _number,
    "seconds": _number,
    "config": lambda value: _section(value) and _shallow(value),
    "config.federation.clients": _count,
    "config.privacy.unit": _one_of("example", "client"),
    "config.privacy.trust": _one_of("none", "central", "local", "distributed"),
    "config.privacy.mechanism": writable,
    "config.privacy.epsilon": _or_null(_above_zero),
    "config.aggregation.backend": writable,
    "config.data": _section,
    "config.lora.targets": _texts,
    **{
        f"privacy.views.{view}.{key}": check
        for view in VIEWS
        for key, check in (("epsilon", _or_null(_at_least_zero)), ("adversary", writable), ("note", _or_null(writable)))
    },
    "privacy.warnings": _texts,
    "privacy.notes": _texts,
    "privacy.delta": lambda value: _number(value) and 0 < value < 1,  # type: ignore[operator]
    "privacy.unit": _one_of("example", "client"),
    "privacy.backend": writable,
    "privacy.neighbouring": writable,
    "privacy.accountant": writable,
    "privacy.run": writable,
    "privacy.private": _truth,
    "privacy.proven": _truth,
    "privacy.openings": _count,
    "privacy.rounds": _count,
}
_LATER: dict[str, Callable[[object], bool]] = {
    "privacy.lines": _count,
    "privacy.head": writable,
    "idealised_release_epsilon": _or_null(_number),
    "environment": lambda value: _section(value) and _shallow(value),
    "words": lambda value: _section(value) and all(map(writable, value.values())),  # type: ignore[attr-defined]
    "config.federation.n_min": _or_null(_count),
    "config.federation.sample_rate": _number,
    "config.privacy.delta": lambda value: _number(value) and 0 < value < 1,  # type: ignore[operator]
    "config.lora.rank": _count,
    "config.aggregation.parties": _count,
    "ring_bits": _count,
    "targets": _texts,
    "scores_before": _numbers,
    "scores_after": _numbers,
    "config.privacy.noise_multiplier": _or_null(_number),
    "config.simulation": _section,
    "config.simulation.noise_cohort": _or_null(_count),
    "config.noise": _section,
}


def check_summary(summary: object, where: str) -> dict[str, Any]:
    """The summary of a run.

    Raises:
        SottoError: naming the key that is missing or of another kind.
    """
    for needed, checks in ((True, _NEEDED), (False, _LATER)):
        for path, holds in checks.items():
            there, value = _at(summary, path)
            if not there and needed:
                raise SottoError(f"{where} is no summary that a run wrote: {path} is missing")
            if there and not holds(value):
                raise SottoError(f"{where} is no summary that a run wrote: {path} is of another kind or size")
    assert isinstance(summary, dict)
    noise = summary["config"].get("noise")
    if noise is not None and not (writable(noise.get("by")) and writable(noise.get("dropout"))):
        raise SottoError(f"{where} is no summary that a run wrote: config.noise.by or .dropout is no text")
    privacy = summary["config"]["privacy"]
    if privacy["trust"] != "none" and privacy["epsilon"] is None and not _number(privacy.get("noise_multiplier")):
        raise SottoError(
            f"{where} is no summary that a run wrote: config.privacy has no epsilon and no noise_multiplier"
        )
    return summary


def check_curve(rows: list[dict[str, Any]], where: str) -> list[dict[str, Any]]:
    """Rows by round in which whatever figures are drawn from is of its kind, where it is there.

    Raises:
        SottoError: naming what is not.
    """
    for row in rows:
        if not _count(row.get("round")) or not _share(row.get("accuracy", 0.0)):
            raise SottoError(f"{where} holds a round that is no count, or whose accuracy is no share")
        for key, value in row.items():
            if key.startswith(_DRAWN) and not _at_least_zero(value):
                raise SottoError(f"{where} holds a round {row['round']} whose {key} is no number of 0 or more")
    return rows


def _at(value: object, path: str) -> tuple[bool, object]:
    """Whether there is something at a dotted path, and what."""
    for key in path.split("."):
        if not isinstance(value, dict) or key not in value:
            return False, None
        value = value[key]
    return True, value
