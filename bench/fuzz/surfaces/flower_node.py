"""What a ServerApp asks a client's node: it answers with sealed parts for exactly its own round, or with a refusal.

It never raises. Flower itself is not needed: the node is what Flower hands its facts to.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np

from bench.fuzz.oracle import Surface
from bench.fuzz.values import ODD, changed
from bench.small_run import small_config, small_task
from fl_core.adapters import flat_adapter
from fl_core.engines.flower.client import ClientNode, ClientSettings
from fl_core.engines.flower.exchange import HELLO, TRAIN, terms_of
from secagg.deployment.new_deployment import create_deployment
from secagg.deployment.terms import Policy
from secagg.errors import SottoError

__all__ = ["node_questions"]


def node_questions(folder: Path) -> Surface:
    """Facts that Flower hands to a client's node."""
    config = small_config(federation={"clients": 8, "rounds": 3, "sample_rate": 0.5, "n_min": 2})
    addresses = [("127.0.0.1", 1000 + rank) for rank in range(2)]
    deployment = create_deployment(folder, addresses, Policy(n_min=2))
    node = ClientNode(ClientSettings(config, folder / "parties.yaml", folder, (0, 1)), small_task)
    theta = flat_adapter(small_task(config).model).numpy().astype("<f4").tobytes()
    terms = terms_of(config, deployment.digest)
    good: dict[str, Any] = {"run": "r", "round": 1, "attempt": 0, "theta": theta, "terms": terms, "clients": [0, 1]}
    bad = np.full(len(theta) // 4, np.nan, "<f4").tobytes()

    def draw(rng: random.Random) -> tuple[str, dict[str, Any]]:
        facts = changed(rng, good, raw=False)
        if isinstance(facts, dict) and rng.random() < 0.3:
            facts["theta"] = rng.choice([b"", theta[:-1], theta * 2, bad, bytes(len(theta)), rng.choice(ODD)])
        return rng.choice([TRAIN, TRAIN, TRAIN, HELLO, "train.x", ""]), facts

    def read(case: tuple[str, dict[str, Any]]) -> dict[str, Any]:
        answer: dict[str, Any] = node.answer(*case)
        if "refused" in answer:
            raise SottoError(str(answer["refused"]))
        return answer

    def wrong(case: tuple[str, dict[str, Any]], found: dict[str, Any]) -> str | None:
        kind, facts = case
        if kind == HELLO:
            return None if set(found) == {"role", "clients", "terms"} else f"a node said {sorted(found)}"
        if kind != TRAIN or facts["terms"] != terms:
            return "a node answered what it must not"
        parts = {f"{client}.{party}" for client in facts["clients"] for party in range(2)}
        sealed = set(found) == parts and all(isinstance(part, bytes) for part in found.values())
        return None if sealed else f"a node answered {sorted(found)}"

    return Surface("questions to a client's node (Flower)", draw, read, wrong, tries=4_000)
