"""What the clients' soak is about: a deployment's terms, rounds, and vectors that everybody can compute again.

Test data: vectors are a function of client, round and attempt, and nobody adds noise, so that an opened sum can be
compared with the sum that its set of clients must have. Nothing real may ever be sent this way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray
from omegaconf import OmegaConf

from fl_core.config import RunConfig
from fl_core.config_file import parse_config
from secagg.messages import RoundSpec

__all__ = ["BITS", "PARTIES", "RETRIES", "RUN", "known_sum", "known_vector", "load_config", "load_spec"]

RUN = "soak"
PARTIES, RETRIES = 3, 3
BITS = 32
_LARGEST = 2**24  # of a coordinate: 24 clients' sum stays within the ring


def load_config(clients: int, n_min: int, wait_s: float) -> RunConfig:
    """The run's configuration, as far as coordinator and clients compare it."""
    sections = {
        "federation": {"clients": clients, "n_min": n_min, "rounds": 10**6},
        "privacy": {"noise_multiplier": 1.0, "delta": 1e-5},
        "aggregation": {"parties": PARTIES, "retries": RETRIES},
        "engine": {"name": "flower"},
        "flower": {"timeout_s": wait_s, "connect_s": 60.0, "settle_s": 2.0},
    }
    return parse_config(OmegaConf.create(sections), [], "soak")


def load_spec(number: int, attempt: int, clients: int, length: int, n_min: int) -> RoundSpec:
    """One attempt; all attempts of a round are about one model, as after a party's failure."""
    model = hashlib.sha256(f"{RUN} {number}".encode()).hexdigest()
    return RoundSpec(RUN, number, attempt, range(clients), length, n_min, bits=BITS, model=model)


def known_vector(client: int, number: int, attempt: int, length: int) -> NDArray[np.int64]:
    """What a client sends in an attempt, int64 `[length]`."""
    generator = np.random.default_rng((client, number, attempt))
    return generator.integers(-_LARGEST, _LARGEST, length, dtype=np.int64)


def known_sum(clients: Collection[int], number: int, attempt: int, length: int) -> NDArray[np.int64]:
    """The only sum that may be opened over these clients."""
    total = np.zeros(length, dtype=np.int64)
    for client in clients:
        total += known_vector(client, number, attempt, length)
    return total
