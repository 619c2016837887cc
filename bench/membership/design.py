"""The arms of `bench.membership`: what they have in common, what differs, and the configuration of each run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from fl_core.config import RunConfig
from fl_core.config_file import parse_config

__all__ = ["DELTA", "Arm", "Design", "config_of"]

DELTA = 1e-5


@dataclass(frozen=True)
class Arm:
    """One kind of run.

    Attributes:
        name: for files and tables.
        unit: `example` or `client`: what a coin puts in or leaves out, and what the arm protects.
        epsilon: claimed for one unit; None: no privacy.
        learning_rate: the server's.
    """

    name: str
    unit: str
    epsilon: float | None
    learning_rate: float


@dataclass(frozen=True)
class Design:
    """What all arms have in common.

    Attributes:
        data: posts, as `data.name`.
        users: candidates' authors, drawn from those who have enough sequences.
        sequences: of each of them.
        shortest: fewest tokens of a sequence.
        overrides: of the configuration, for all arms.
        units: more overrides, by unit.
    """

    data: str
    users: int
    sequences: int
    shortest: int
    overrides: dict[str, Any]
    units: dict[str, dict[str, Any]]


def config_of(design: Design, arm: Arm, seed: int) -> RunConfig:
    """The configuration of one run.

    Raises:
        ConfigError: if it is impossible.
    """
    privacy = {"unit": arm.unit, "delta": DELTA, "clip_norm": 1.0}
    privacy |= {"trust": "none"} if arm.epsilon is None else {"trust": "distributed", "epsilon": arm.epsilon}
    merged = OmegaConf.merge(
        {
            "data": {"name": design.data, "partition": "natural", "fallback": "refuse"},
            "lora": {"seed": seed},
            "federation": {"clients": design.users},
            "privacy": privacy,
            "aggregation": {"backend": "plaintext"},
            "engine": {"keep_features": False},
        },
        design.overrides,
        design.units[arm.unit],
        {"server": {"learning_rate": arm.learning_rate}},
    )
    return parse_config(cast(DictConfig, merged), [], "membership")
