"""From a configuration to a `FederatedTask`: images or words, by the data set that is named."""

from __future__ import annotations

from collections.abc import Callable

from experiments.datasets import image_names
from fl_core.config import ConfigError, RunConfig
from fl_core.task import FederatedTask

__all__ = ["build_task"]


def build_task(config: RunConfig, on_progress: Callable[[str], None] = lambda _: None) -> FederatedTask:
    """The task of `data.name`: image classification for an image data set, else next-word prediction.

    Raises:
        ConfigError: for a data set that is neither.
        SottoError: if data or model cannot be had as configured.
    """
    if config.data.name in image_names():
        if config.data.partition == "natural":
            raise ConfigError("data.partition is 'natural', but images have no users; allowed: iid, dirichlet")
        from experiments.tasks.images import image_task

        return image_task(config, on_progress)
    from experiments.tasks.words import word_task

    return word_task(config, on_progress)
