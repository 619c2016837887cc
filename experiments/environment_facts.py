"""What a run ran on, for whoever repeats it: versions, kind of machine; never its name or place."""

from __future__ import annotations

import os
import platform
from importlib import metadata

import torch

__all__ = ["environment_facts"]

_PACKAGES = ("sotto", "torch", "transformers", "peft", "crypten", "triton", "numpy")


def environment_facts(device: torch.device) -> dict[str, str]:
    """Names and values, as text; `device` is where the model was.

    A package that is not installed under its name, such as Sotto itself from a checkout, is left out.
    """
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    found["system"] = f"{platform.system()} {platform.machine()}"
    found["CPUs"] = str(os.cpu_count() or "not known")
    found["threads"] = str(torch.get_num_threads())
    found["device"] = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return found
