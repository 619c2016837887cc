"""The command to type after one that has ended, in words that a shell takes as they are."""

from __future__ import annotations

import json
import shlex
from importlib.resources import files
from pathlib import Path

from omegaconf import OmegaConf

from secagg.errors import SottoError

__all__ = ["refuse_reference", "run_on"]


def refuse_reference(folder: Path) -> None:
    """Refuse a folder that no configuration can name.

    Raises:
        SottoError: if a part of its name would be taken for a reference to another key.
    """
    if "${" in str(folder):
        raise SottoError(f"--out is {folder}; allowed: a name without ${{, with which a configuration refers to a key")


def run_on(folder: Path, clients: int) -> str:
    """`sotto run` with the configuration for texts of one's own, on the posts in `folder`.

    Args:
        folder: as the user gave it, not refused by `refuse_reference`.
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
