"""Messages between the processes of one simulation, over `torch.distributed` (gloo): a header, and raw bytes.

Takes small values and bytes; gives them in another process of the group. Both ends are processes of one run on one
machine, and hold its simulated clients' data anyway; they talk over the loopback interface only. A process that ended
becomes a `LinkBroken` at once. Real clients never use this: their messages are sealed and go another way.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch._C._distributed_c10d import FileStore, Store

from secagg.wire import decode, encode

__all__ = ["LinkBroken", "group_store", "join", "leave", "receive", "send"]

_SILENCE = timedelta(hours=1)  # the longest time that one cohort may take
_LOOPBACKS = ("lo", "lo0")


class LinkBroken(Exception):
    """The other process ended, or was silent for an hour."""


def group_store(path: Path, workers: int) -> Store:
    """Where process 0 and its `workers` find each other: a file that all of them name."""
    return FileStore(str(path), workers + 1)


def join(rank: int, workers: int, store: Store) -> None:
    """Become process `rank` of the group of process 0 and its `workers`.

    Raises:
        LinkBroken: if the others do not come.
    """
    known = {name for _, name in socket.if_nameindex()}
    for name in known.intersection(_LOOPBACKS):
        os.environ["GLOO_SOCKET_IFNAME"] = name
    try:
        store.set(f"here {rank}", "")
        dist.init_process_group("gloo", store=store, rank=rank, world_size=workers + 1, timeout=_SILENCE)
    except (RuntimeError, ValueError) as error:
        raise LinkBroken(str(error)) from None


def leave() -> None:
    """Leave the group; legal at any time."""
    if dist.is_initialized():
        dist.destroy_process_group()


def send(rank: int, header: Any, payload: Iterable[bytes | memoryview] = ()) -> None:
    """Send a header (None, bool, int, float, str, bytes, list, dict with string keys) and the pieces of a payload.

    Raises:
        LinkBroken: if the other process is gone.
    """
    packed = encode(header)
    whole = bytearray(packed)
    for piece in payload:
        whole += piece
    try:
        dist.send(torch.tensor([len(packed), len(whole)], dtype=torch.int64), rank)
        dist.send(torch.frombuffer(whole, dtype=torch.uint8), rank)
    except RuntimeError as error:
        raise LinkBroken(str(error)) from None


def receive(rank: int) -> tuple[Any, memoryview]:
    """The next header and payload from `rank`.

    Raises:
        LinkBroken: if the other process is gone.
    """
    sizes = torch.zeros(2, dtype=torch.int64)
    try:
        dist.recv(sizes, rank)
        packed, whole = int(sizes[0]), int(sizes[1])
        content = np.empty(whole, np.uint8)
        dist.recv(torch.from_numpy(content), rank)
    except RuntimeError as error:
        raise LinkBroken(str(error)) from None
    view = content.data
    return decode(view[:packed]), view[packed:]
