"""A design of a minute, and repetitions that nobody ran."""

from __future__ import annotations

import numpy as np

from bench.membership.candidates import Candidates
from bench.membership.design import Arm, Design
from bench.membership.rows import Repetition

TINY = Design(
    data="topics",
    users=12,
    sequences=10,
    shortest=8,
    overrides={
        "lora": {"rank": 4, "alpha": 8.0, "targets": ["c_attn", "c_proj", "c_fc"], "blocks": [-1]},
        "federation": {"rounds": 30, "sample_rate": 0.25},
        "data": {"test_sequences": 20},
        "server": {"optimizer": "adam"},
        "engine": {"eval_every": 30, "checkpoint_every": 5, "threads": 1},
        "simulation": {"noise": "aggregate"},
    },
    units={"example": {}, "client": {"client": {"steps": 1, "batch_size": 16, "learning_rate": 1.0}}},
)
PRIVATE = Arm("private", "example", 0.5, 0.003)
PLANTED = Arm("planted", "example", 0.5, 0.04)  # claims epsilon 0.5, and its noise is left out


def repetition(after, inside, users=20, own=5, seed=0):
    """Made up: losses before are noise, and `after` is taken off."""
    generator = np.random.default_rng(seed)
    before = generator.normal(5, 1, users * own)
    everyone = np.repeat(np.arange(users), own)
    candidates = Candidates(np.arange(users * own), everyone, inside, np.zeros((0, 2), np.int32), np.zeros((0, 2)))
    return Repetition(seed, candidates, before, before - after, {}, None)
