"""Checkpoints of the round loop: adapter, optimiser state, and where the ledger stood.

One safetensors file per checkpoint, written atomically; the newest two are kept. A checkpoint also remembers the
ledger's length and head, so that a ledger that lost lines since is found out. Only safetensors and JSON are read:
loading can never execute anything.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from fl_core.optimizers import OptimizerState
from fl_core.run_folder import StorageError, write_atomically

__all__ = ["Checkpoint", "latest_checkpoint", "save_checkpoint"]

_KEEP = 2


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
            theta, first, second = (handle.get_tensor(name) for name in ("theta", "first", "second"))
        state = OptimizerState(first, second, int(facts["optimizer_steps"]))
        norm = facts.get("clip_norm")
        lines, head = int(facts["ledger_lines"]), str(facts["ledger_head"])
        checkpoint = Checkpoint(int(facts["round"]), theta, state, lines, head, None if norm is None else float(norm))
    except (SafetensorError, KeyError, ValueError, TypeError, OSError) as error:
        raise StorageError(
            f"checkpoint {path} is damaged ({type(error).__name__}); remove it to go on from the one before"
        ) from None
    if not (theta.shape == first.shape == second.shape and bool(torch.isfinite(theta).all())):
        raise StorageError(f"checkpoint {path} holds tensors that do not fit together; remove it")
    if checkpoint.clip_norm is not None and not 0 < checkpoint.clip_norm < math.inf:
        raise StorageError(f"checkpoint {path} holds a clip norm of {checkpoint.clip_norm}; remove it")
    return checkpoint


def _path(folder: Path, rounds: int) -> Path:
    return folder / f"round-{rounds:06d}.safetensors"
