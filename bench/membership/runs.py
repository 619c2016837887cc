"""The fine-tunings that `bench.membership` attacks: posts, a coin for each candidate, a whole run of the product.

Takes an arm and a seed; gives a run folder as `sotto run` leaves it, and who was in it. A candidate whose coin came out
against it is *zeroed out*, the adjacency of the ledger: it belongs to its client no more, while the public number of
records, and so the denominator, stays. Coins are drawn apart from all that the run draws, so that the claim under
attack is exactly the ledger's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from torch import nn

from experiments import runs
from experiments.datasets import load_posts
from experiments.language.adapted import load_adapted
from experiments.language.bases import load_base
from experiments.language.sequences import Sequences, sequences_of
from experiments.progress import RunProgress
from experiments.tasks import build_task
from fl_core.causal_lm import CausalLmLoss
from fl_core.config import RunConfig
from fl_core.config_file import first_difference, parse_config, to_dict
from fl_core.run_folder import write_atomically
from fl_core.task import FederatedTask
from secagg.errors import SottoError

__all__ = [
    "DELTA",
    "Arm",
    "Candidates",
    "Design",
    "all_sequences",
    "base_losses",
    "candidates_of",
    "config_of",
    "released_losses",
    "train",
]

DELTA = 1e-5

_BATCH = 512


@dataclass(frozen=True)
class Arm:
    """One kind of run.

    Attributes:
        name: for files and tables.
        unit: `example` or `client`: what a coin puts in or leaves out, and what the arm protects.
        epsilon: claimed for one unit; None: no privacy.
        learning_rate: the server's.
    """

    name: str
    unit: str
    epsilon: float | None
    learning_rate: float


@dataclass(frozen=True)
class Design:
    """What all arms have in common.

    Attributes:
        data: posts, as `data.name`.
        users: candidates' authors, drawn from those who have enough sequences.
        sequences: of each of them.
        shortest: fewest tokens of a sequence.
        overrides: of the configuration, for all arms.
        units: more overrides, by unit.
    """

    data: str
    users: int
    sequences: int
    shortest: int
    overrides: dict[str, Any]
    units: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Candidates:
    """Sequences that may have been trained on.

    Attributes:
        rows: int64 `[n]`, their numbers among all sequences of the posts.
        users: int64 `[n]`, whose they are, `0 .. users - 1`, ascending.
        inside: bool `[n]`, which of them took part; one coin a sequence, or one a user.
        ids: int32 `[n, t]` tokens.
        labels: int64 `[n, t]`, -100 in the padding.
    """

    rows: NDArray[np.int64]
    users: NDArray[np.int64]
    inside: NDArray[np.bool_]
    ids: NDArray[np.int32]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class _ZeroedOut(FederatedTask):
    """A task some of whose records are zero: they are in no batch and still count.

    Attributes:
        candidates: all records, whatever their coins.
    """

    candidates: int = 0

    @property
    def records(self) -> int:
        """All candidates: the denominator tells nothing of the coins."""
        return self.candidates


def config_of(design: Design, arm: Arm, seed: int) -> RunConfig:
    """The configuration of one run.

    Raises:
        ConfigError: if it is impossible.
    """
    privacy = {"unit": arm.unit, "delta": DELTA, "clip_norm": 1.0}
    privacy |= {"trust": "none"} if arm.epsilon is None else {"trust": "distributed", "epsilon": arm.epsilon}
    merged = OmegaConf.merge(
        {
            "data": {"name": design.data, "partition": "natural", "fallback": "refuse"},
            "lora": {"seed": seed},
            "federation": {"clients": design.users},
            "privacy": privacy,
            "aggregation": {"backend": "plaintext"},
            "engine": {"keep_features": False},
        },
        design.overrides,
        design.units[arm.unit],
        {"server": {"learning_rate": arm.learning_rate}},
    )
    return parse_config(cast(DictConfig, merged), [], "membership")


def all_sequences(config: RunConfig) -> Sequences:
    """Every training sequence of the posts that a configuration names.

    Raises:
        SottoError: if the posts are not there.
    """
    posts = load_posts(config.data.name)
    _, tokenizer = load_base(config.model.base)
    return sequences_of(posts.train, posts.digest + "train", tokenizer, config.data.sequence_length)


def candidates_of(train: Sequences, design: Design, unit: str, seed: int) -> Candidates:
    """The candidates of one repetition and their fair coins; the same users and sequences for every unit.

    Raises:
        SottoError: if too few users have enough sequences.
    """
    _, first, copies = np.unique(train.ids, axis=0, return_index=True, return_counts=True)
    # A sequence that is there twice could be left out and in at once.
    usable = np.sort(first[copies == 1])
    usable = usable[train.lengths[usable] >= design.shortest]
    sizes = np.bincount(train.users[usable])
    enough = np.flatnonzero(sizes >= design.sequences)
    if len(enough) < design.users:
        raise SottoError(
            f"{design.users} users with {design.sequences} sequences are wanted, but {len(enough)} have so many; "
            f"allowed: up to {len(enough)} users"
        )
    generator = np.random.Generator(np.random.PCG64([seed, 1]))
    chosen = generator.choice(enough, design.users, replace=False)
    own = [
        np.sort(generator.choice(usable[train.users[usable] == user], design.sequences, replace=False))
        for user in chosen
    ]
    rows = np.concatenate(own).astype(np.int64)
    users = np.repeat(np.arange(design.users), design.sequences)
    coins = np.random.Generator(np.random.PCG64([seed, 2]))
    inside = coins.random(len(rows)) < 0.5 if unit == "example" else (coins.random(design.users) < 0.5)[users]
    return Candidates(rows, users, inside, train.ids[rows], train.labels()[rows])


def train(
    config: RunConfig, sequences: Sequences, candidates: Candidates, folder: Path, progress: RunProgress
) -> dict[str, Any]:
    """The run in `folder`: its summary if it has ended, else what is left of it, or all.

    Raises:
        SottoError: as `experiments.runs.execute`; if the folder holds a run of another design.
    """
    _refuse_other_design(candidates, folder)
    if (folder / "summary.json").exists():
        found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
        difference = first_difference(to_dict(config), found["config"])
        if difference is not None:
            raise SottoError(f"{folder} holds a run with another {difference[0]}; choose another --out")
        return found
    begun = (folder / "config.yaml").exists()
    with _only(sequences, candidates):
        return runs.execute(config, folder, begun, False, progress)


def _refuse_other_design(candidates: Candidates, folder: Path) -> None:
    """Refuse a folder whose run has other candidates or coins, which its configuration does not tell."""
    state = hashlib.sha256()
    for part in (candidates.rows, candidates.inside, candidates.ids):
        state.update(np.ascontiguousarray(part).tobytes())
    path = folder / "candidates.json"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps({"sha256": state.hexdigest()}).encode())
    elif json.loads(path.read_text())["sha256"] != state.hexdigest():
        raise SottoError(f"{folder} holds a run with other candidates or coins; choose another --out")


@contextmanager
def _only(sequences: Sequences, candidates: Candidates) -> Iterator[None]:
    """Let `runs.execute` train on the candidates whose coins say so, a user of them a client."""
    everyone = len(np.unique(sequences.users))

    def build(config: RunConfig, on_progress: Callable[[str], None] = lambda _: None) -> FederatedTask:
        whole = replace(config, federation=replace(config.federation, clients=everyone, n_min=None))
        task = build_task(whole, on_progress)
        inside = [
            candidates.rows[(candidates.users == user) & candidates.inside] for user in range(config.federation.clients)
        ]
        kept = {field.name: getattr(task, field.name) for field in fields(task)}
        kept |= {"clients": tuple(inside), "evaluate_whole": None, "candidates": len(candidates.rows)}
        return _ZeroedOut(**kept)

    before = runs.build_task
    runs.build_task = build
    try:
        yield
    finally:
        runs.build_task = before


@torch.no_grad()
def losses_of(model: nn.Module, candidates: Candidates) -> NDArray[np.float64]:
    """Nats a token of each candidate `[n]`, as whoever has the model computes them."""
    model.eval()
    loss = CausalLmLoss()
    found = []
    for start in range(0, len(candidates.ids), _BATCH):
        ids = torch.from_numpy(candidates.ids[start : start + _BATCH].astype(np.int64))
        labels = torch.from_numpy(candidates.labels[start : start + _BATCH])
        found.append(loss(model(input_ids=ids), {"input_ids": ids, "labels": labels}).double())
    return torch.cat(found).numpy()


def base_losses(config: RunConfig, candidates: Candidates) -> NDArray[np.float64]:
    """Losses under the public base, which saw no candidate."""
    return losses_of(load_base(config.model.base)[0], candidates)


def released_losses(folder: Path, candidates: Candidates) -> NDArray[np.float64]:
    """Losses under the model that the run in `folder` released; computed once and kept in the folder."""
    kept = folder / "losses.json"
    if not kept.exists():
        losses = losses_of(load_adapted(folder)[0], candidates)
        write_atomically(kept, json.dumps(losses.tolist()).encode())
    return np.array(json.loads(kept.read_text()))
