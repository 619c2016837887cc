"""The Hugging Face hub: whether it can be used, what of it is in the local cache, and image data sets from it.

Takes the names of repositories; gives clauses that say why not, or uint8 arrays. It must never retry for minutes and
never contact the hub when the user has said off-line (`HF_HUB_OFFLINE` or `HF_DATASETS_OFFLINE`).
"""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import numpy as np
from numpy.typing import NDArray

from fl_core.first_line import first_line

__all__ = ["HubUnavailable", "hub_obstacle", "load_hub_split", "only_from_cache"]

_PROBE_TIMEOUT_S = 3.0


class HubUnavailable(Exception):
    """Why the hub cannot be used, as a clause; the source that asked turns it into its own sentence."""


def hub_obstacle() -> str | None:
    """Why the hub cannot be used right now, or None: one connection attempt of at most three seconds."""
    for variable in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        if os.environ.get(variable, "").upper() in {"1", "ON", "YES", "TRUE"}:
            return f"{variable} is set"
    endpoint = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    if endpoint.hostname is None:
        return f"HF_ENDPOINT {endpoint.geturl()!r} names no host"
    # Behind a proxy only the proxy can be reached directly.
    proxy = None if proxy_bypass(endpoint.hostname) else getproxies().get(endpoint.scheme)
    target = urlsplit(proxy if proxy is None or "//" in proxy else f"//{proxy}") if proxy else endpoint
    host = target.hostname or endpoint.hostname
    try:
        port = target.port or (443 if target.scheme == "https" else 80)
        socket.create_connection((host, port), timeout=_PROBE_TIMEOUT_S).close()
    except (OSError, ValueError) as error:
        return f"no connection to {host} ({error})"
    return None


def only_from_cache(repository: str, *files: str) -> bool:
    """Whether a repository must come from the local cache, because the hub cannot be used.

    Args:
        repository: its name on the hub.
        files: it is in the cache if one of them is.

    Raises:
        HubUnavailable: if it is not in the cache either.
    """
    obstacle = hub_obstacle()
    if obstacle is None:
        return False
    from huggingface_hub import try_to_load_from_cache

    try:
        cached = any(isinstance(try_to_load_from_cache(repository, file), str) for file in files)
    except Exception:  # not a possible name of a repository
        cached = False
    if not cached:
        raise HubUnavailable(obstacle)
    return True


def load_hub_split(repository: str, split: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images uint8 `[N, H, W]` and labels uint8 `[N]` of one split; the columns are `image` and `label`.

    Raises:
        HubUnavailable: off-line, unreachable, or the repository cannot be read as such a data set.
    """
    obstacle = hub_obstacle()
    if obstacle is not None:
        raise HubUnavailable(obstacle)
    import datasets  # seconds to import, and only needed when files are missing

    try:
        table = datasets.load_dataset(repository, split=split)
        images = np.stack([np.asarray(image.convert("L"), dtype=np.uint8) for image in table["image"]])
        labels = np.asarray(table["label"], dtype=np.uint8)
    except Exception as error:  # the hub client's errors share no base class; all mean "not from there"
        raise HubUnavailable(f"{type(error).__name__}: {first_line(error)}") from error
    return images, labels
