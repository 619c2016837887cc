"""Sweeps: one base configuration and named lists of overrides.

Takes a file; gives configurations. No run starts before all of them are checked, and none is outside of the sweep's
folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.arms import arm_name, repeated
from fl_core.config import ConfigError, RunConfig
from fl_core.config_file import load_config, load_yaml

__all__ = ["load_sweep"]

_MOST_REPEATS = 10_000


def load_sweep(path: Path, only: Sequence[str]) -> list[tuple[str, RunConfig]]:
    """The runs of a sweep file, all checked before the first starts.

    The file has `base` (a configuration's path, relative to the sweep file), `runs` (name: list of key=value), and
    optionally `common` (key=value for all runs) and `repeats`: with more than 1, each run becomes that many, named
    `NAME@1`, `NAME@2`, ..., each with its own initial adapter (`lora.seed`) and its own randomness; all the first ones
    come before all the second.

    Args:
        path: the sweep file.
        only: names of runs, repeated or not; empty: all.

    Raises:
        ConfigError: for a file that is not a sweep, an unknown name, or a run whose configuration is refused.
    """
    loaded = load_yaml(path)
    try:
        OmegaConf.to_container(loaded, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{path}: a value is missing or refers to none: {str(error).splitlines()[0]}") from None
    unknown = sorted({str(key) for key in loaded} - {"base", "common", "repeats", "runs"})
    if unknown:
        raise ConfigError(f"{path}: unknown key {unknown[0]}; allowed: base, common, repeats, runs")
    runs = loaded.get("runs")
    if not isinstance(loaded.get("base"), str) or not isinstance(runs, DictConfig) or not runs:
        raise ConfigError(f"{path}: a sweep needs base (path of a configuration) and runs (name: list of key=value)")
    common = _strings(loaded.get("common", []), f"{path}: common")
    repeats = loaded.get("repeats", 1)
    if not isinstance(repeats, int) or isinstance(repeats, bool) or not 1 <= repeats <= _MOST_REPEATS:
        raise ConfigError(f"{path}: repeats is {repeats}; allowed: 1 to {_MOST_REPEATS}")
    names = [str(name) for name in runs]
    for name in names:
        if name in ("", "..") or Path(name).name != name:
            raise ConfigError(f"{path}: runs has the name {name!r}; allowed: names that a run's folder can have")
    wanted = [(name, _strings(runs[name], f"{path}: runs.{name}")) for name in names]
    if repeats > 1:  # every run once before any is repeated: a sweep that is cut short has something of all
        wanted = [
            (repeated(name, count), [*own, f"lora.seed={count - 1}"])
            for count in range(1, repeats + 1)
            for name, own in wanted
        ]
    chosen = {name for name, _ in wanted if not only or name in only or arm_name(name) in only}
    missing = [name for name in only if name not in names and name not in chosen]
    if missing:
        raise ConfigError(f"{path}: no run is called {missing[0]}; allowed: {', '.join(names)}")
    base = path.parent / str(loaded["base"])
    return [(name, _loaded(base, [*common, *own], f"{path}: runs.{name}")) for name, own in wanted if name in chosen]


def _loaded(base: Path, overrides: list[str], where: str) -> RunConfig:
    try:
        return load_config(base, overrides)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _strings(value: object, where: str) -> list[str]:
    if not isinstance(value, list | ListConfig) or not all(isinstance(item, str) for item in value):
        raise ConfigError(f"{where} must be a list of key=value")
    return [str(item) for item in value]
