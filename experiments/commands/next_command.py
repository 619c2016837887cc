"""The command to type after one that has ended, in words that a shell takes as they are."""

from __future__ import annotations

import json
import shlex
from importlib.resources import files
from pathlib import Path

from omegaconf import OmegaConf

__all__ = ["run_on"]


def run_on(folder: Path, clients: int) -> str:
    """`sotto run` with the configuration for texts of one's own, on the posts in `folder`.

    Args:
        folder: as the user gave it.
        clients: users who train.
    """
    config = Path(str(files("experiments") / "configs" / "own_texts.yaml"))
    if config.is_relative_to(Path.cwd()):
        config = config.relative_to(Path.cwd())
    # A bare word could be a known data set's name, or a number.
    name = str(folder) if folder.is_absolute() else f"./{folder}"
    if OmegaConf.from_dotlist([f"name={name}"]).name != name:
        name = json.dumps(name)  # a colon, say, would mean something else in an override
    words = ["sotto", "run", str(config), f"data.name={name}", f"federation.clients={clients}"]
    return shlex.join(words)
