"""Who may have taken part in a run: sequences of posts, and a fair coin for each of them or for each user.

Coins are drawn apart from all that a run draws, so that the claim under attack is exactly the ledger's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.membership.design import Design
from experiments.datasets import load_posts
from experiments.language.bases import load_base
from experiments.language.sequences import Sequences, sequences_of
from fl_core.config import RunConfig
from secagg.errors import SottoError

__all__ = ["Candidates", "all_sequences", "candidates_of"]


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
