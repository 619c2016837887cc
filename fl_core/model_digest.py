"""A name for what every client of a round computes from: the frozen base and the adapter that was broadcast.

Takes a model and an adapter; gives hexadecimal SHA-256 digests. Aggregators use them to tell openings of one model
from openings of another, so two models that differ in one bit must never have one name.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn

__all__ = ["broadcast_digest", "frozen_digest"]


def frozen_digest(model: nn.Module) -> str:
    """Digest of everything in `model` but its trainable parameters: names, kinds, shapes and bytes."""
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    found = hashlib.sha256()
    for name, value in sorted([*model.named_parameters(), *model.named_buffers()], key=lambda named: named[0]):
        if name not in trainable:
            found.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
            found.update(_bytes(value))
    return found.hexdigest()


def broadcast_digest(frozen: str, theta: Tensor) -> str:
    """Digest of the broadcast adapter `theta [p]` on the base with digest `frozen`."""
    found = hashlib.sha256(f"{frozen} {theta.dtype} {tuple(theta.shape)}\n".encode())
    found.update(_bytes(theta))
    return found.hexdigest()


def _bytes(value: Tensor) -> memoryview:
    return value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data
