"""Checkpoints of the round loop: adapter, optimiser state, and where the ledger stood.

One safetensors file per checkpoint, written atomically; the newest two are kept. A checkpoint carries a digest of
itself, so that a run never goes on from what a disk made of it. It also remembers the ledger's length and head, so that
a ledger that lost lines since is found out. Only safetensors and JSON are read: loading can never execute anything.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from fl_core.optimizers import OptimizerState
from fl_core.storage import StorageError, write_atomically

__all__ = ["Checkpoint", "latest_checkpoint", "save_checkpoint"]

_KEEP = 2
_LARGEST_COUNT = 10**12
_KINDS = [(torch.float32, 1), (torch.float64, 1), (torch.float64, 1)]  # adapter, moments
_FACTS = {"round", "optimizer_steps", "ledger_lines", "ledger_head"}
_DAMAGE = (
    SafetensorError,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RecursionError,
)
_LATER = {"clip_norm", "digest"}  # a checkpoint of an earlier Sotto has no digest


@dataclass(frozen=True)
class Checkpoint:
    """State after `round` rounds.

    Attributes:
        round: rounds done.
        theta: adapter `[p]` float32.
        optimizer: server optimiser state.
        ledger_lines: lines in the ledger at that moment.
        ledger_head: hash of its last line.
        clip_norm: adaptive clipping's norm for the next round; None with fixed clipping.
    """

    round: int
    theta: Tensor
    optimizer: OptimizerState
    ledger_lines: int
    ledger_head: str
    clip_norm: float | None = None


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint and drop older ones.

    Raises:
        StorageError: if the disk is full; older checkpoints stay.
    """
    tensors = {
        "theta": checkpoint.theta,
        "first": checkpoint.optimizer.first,
        "second": checkpoint.optimizer.second,
    }
    facts: dict[str, int | float | str] = {
        "round": checkpoint.round,
        "optimizer_steps": checkpoint.optimizer.steps,
        "ledger_lines": checkpoint.ledger_lines,
        "ledger_head": checkpoint.ledger_head,
    }
    if checkpoint.clip_norm is not None:
        facts["clip_norm"] = checkpoint.clip_norm
    facts["digest"] = _digest(facts, tensors)
    write_atomically(_path(folder, checkpoint.round), save(tensors, {"sotto": json.dumps(facts)}))
    for old in sorted(folder.glob("round-*.safetensors"))[:-_KEEP]:
        old.unlink(missing_ok=True)


def latest_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest checkpoint, or None if there is none yet.

    Raises:
        StorageError: if the newest file is damaged; it is named, and removing it falls back to the one before.
    """
    files = sorted(folder.glob("round-*.safetensors"))
    if not files:
        return None
    path = files[-1]
    try:
        with safe_open(str(path), framework="pt") as handle:
            facts = json.loads((handle.metadata() or {})["sotto"])
            tensors = {name: handle.get_tensor(name) for name in ("theta", "first", "second")}
        if not _FACTS <= facts.keys() <= _FACTS | _LATER:
            raise ValueError("other facts")
        if "digest" in facts and facts.pop("digest") != _digest(facts, tensors):
            raise ValueError("other content than was written")
        theta, first, second = tensors.values()
        state = OptimizerState(first, second, int(facts["optimizer_steps"]))
        norm = facts.get("clip_norm")
        lines, head = int(facts["ledger_lines"]), str(facts["ledger_head"])
        checkpoint = Checkpoint(int(facts["round"]), theta, state, lines, head, None if norm is None else float(norm))
    except _DAMAGE as error:
        raise StorageError(
            f"checkpoint {path} is damaged ({type(error).__name__}); remove it to go on from the one before"
        ) from None
    counts = (checkpoint.round, state.steps, lines)
    kinds = [(tensor.dtype, tensor.ndim) for tensor in (theta, first, second)]
    if not all(0 <= count <= _LARGEST_COUNT for count in counts) or kinds != _KINDS:
        raise StorageError(f"checkpoint {path} holds counts or tensors that no run has; remove it")
    if not (len(theta) == len(first) == len(second) and all(bool(t.isfinite().all()) for t in (theta, first, second))):
        raise StorageError(f"checkpoint {path} holds tensors that do not fit together; remove it")
    if checkpoint.clip_norm is not None and not 0 < checkpoint.clip_norm < math.inf:
        raise StorageError(f"checkpoint {path} holds a clip norm of {checkpoint.clip_norm}; remove it")
    return checkpoint


def _digest(facts: Mapping[str, int | float | str], tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of all that a checkpoint says."""
    found = hashlib.sha256(json.dumps(dict(facts), sort_keys=True).encode())
    for name, tensor in tensors.items():
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.contiguous().numpy().data)
    return found.hexdigest()


def _path(folder: Path, rounds: int) -> Path:
    return folder / f"round-{rounds:06d}.safetensors"
