"""The loss of every candidate, as whoever has a model computes it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bench.membership.candidates import Candidates
from experiments.language.adapted import load_adapted
from experiments.language.bases import load_base
from fl_core.causal_lm import CausalLmLoss
from fl_core.config import RunConfig
from fl_core.storage import write_atomically

__all__ = ["base_losses", "released_losses"]

_BATCH = 512


def base_losses(config: RunConfig, candidates: Candidates) -> NDArray[np.float64]:
    """Losses under the public base, which saw no candidate."""
    return _losses_of(load_base(config.model.base)[0], candidates)


def released_losses(folder: Path, candidates: Candidates) -> NDArray[np.float64]:
    """Losses under the model that the run in `folder` released; computed once and kept in the folder."""
    kept = folder / "losses.json"
    if not kept.exists():
        losses = _losses_of(load_adapted(folder)[0], candidates)
        write_atomically(kept, json.dumps(losses.tolist()).encode())
    return np.array(json.loads(kept.read_text()))


@torch.no_grad()
def _losses_of(model: nn.Module, candidates: Candidates) -> NDArray[np.float64]:
    """Nats a token of each candidate `[n]`, as whoever has the model computes them."""
    model.eval()
    loss = CausalLmLoss()
    found = []
    for start in range(0, len(candidates.ids), _BATCH):
        ids = torch.from_numpy(candidates.ids[start : start + _BATCH].astype(np.int64))
        labels = torch.from_numpy(candidates.labels[start : start + _BATCH])
        found.append(loss(model(input_ids=ids), {"input_ids": ids, "labels": labels}).double())
    return torch.cat(found).numpy()
