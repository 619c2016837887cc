"""Which device a run computes on."""

from __future__ import annotations

import torch

from fl_core.config import ConfigError

__all__ = ["device_of"]


def device_of(name: str) -> torch.device:
    """The device that `engine.device` names; `auto` is CUDA where there is one.

    Raises:
        ConfigError: if cuda is asked for and there is none.
    """
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise ConfigError("engine.device is cuda, but PyTorch finds no CUDA device; allowed here: auto, cpu")
    return torch.device("cuda" if there and name != "cpu" else "cpu")
