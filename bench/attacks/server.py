"""A server's side of a client's node, for attacks: it asks what it likes, and knows what the answers hold.

What a message holds is read with the keys of all parties, which no attacker has: so it is known whether one won.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.attacks.attack import VICTIM, Outcome
from bench.attacks.stage import CLIENTS, N_MIN, Stage
from bench.small_run import small_config, small_task
from fl_core.adapters import attach_adapter, flat_adapter, load_flat_adapter
from fl_core.cohort import Diagnostics, cohort_contributions
from fl_core.config import RunConfig
from fl_core.engines.flower.client import ClientNode, ClientSettings
from fl_core.engines.flower.exchange import HELLO, TRAIN
from fl_core.model_digest import broadcast_digest, frozen_digest
from fl_core.privacy_plan import PrivacyPlan, plan_privacy
from fl_core.rounds import clip_of, spec_of
from fl_core.task import FederatedTask
from secagg.deployment.keys import load_party_keys
from secagg.envelopes import SealedMessage, open_part
from secagg.messages import RoundSpec
from secagg.packing import unpack
from secagg.randomness import Keystream
from secagg.sharing import combine, expand

__all__ = ["Server", "cancelling_task", "configuration", "refused"]


def configuration(noise: float | None = 4.0, **sections: Any) -> RunConfig:
    """A deployment's configuration: every record takes part in every round, and real randomness."""
    trust = "none" if noise is None else "distributed"
    base: dict[str, Any] = {
        "federation": {"clients": CLIENTS, "rounds": 2, "n_min": N_MIN, "sample_rate": 1.0},
        "privacy": {"noise_multiplier": noise, "trust": trust, "delta": 1e-3},
        "aggregation": {"backend": "smpc", "parties": 2, "retries": 0},
        "engine": {"name": "flower", "cohort_size": 1, "threads": 1},
    }
    return small_config(**{**base, **sections})


class Server:
    """A server that asks one client, and has the others' keys where an attack says so.

    Args:
        stage: parties and keys.
        config: the client's own configuration.
        build: the client's model and records.
    """

    def __init__(
        self, stage: Stage, config: RunConfig, build: Callable[[RunConfig], FederatedTask] = small_task
    ) -> None:
        self.stage, self.config = stage, config
        self.task = build(config)
        self.initial = flat_adapter(self.task.model)
        self.plan: PrivacyPlan = plan_privacy(config, len(self.initial), max(self.task.records, CLIENTS))
        own = ClientSettings(config, stage.folder / "parties.yaml", stage.folder, (VICTIM,))
        self._node = ClientNode(own, build)
        self.terms = self._node.answer(HELLO, {})["terms"]

    def ask(self, theta: Tensor | None = None, run: str = "", **more: Any) -> Any:
        """What the client answers to a question about this adapter, by default the first, with whatever else."""
        data = (self.initial if theta is None else theta).numpy().astype("<f4").tobytes()
        facts: dict[str, Any] = {"terms": self.terms, "run": run or self.stage.new_run(), "round": 1, "attempt": 0}
        asked: dict[str, Any] = {"clients": [VICTIM], "theta": data, "clip_norm": 1.0}
        return self._node.answer(TRAIN, {**facts, **asked, **more})

    def spec(self, run: str, theta: Tensor | None = None) -> RoundSpec:
        """The first round as an honest server would describe it."""
        digest = broadcast_digest(frozen_digest(self.task.model), self.initial if theta is None else theta)
        return spec_of(self.config, self.plan, run, 1, 0, digest)

    def message(self, answer: Mapping[str, Any]) -> SealedMessage:
        """The parts in an answer."""
        return SealedMessage((VICTIM,), tuple(answer[f"{VICTIM}.{party}"] for party in range(self.stage.parties)))

    def with_own(self, spec: RoundSpec, answer: Mapping[str, Any]) -> list[SealedMessage]:
        """The client's message beside those of n_min clients of the server's own, which send zeros."""
        zero = np.zeros(spec.length, dtype=np.int64)
        others = [self.stage.sealed(spec, client, zero) for client in range(1, N_MIN + 1)]
        return [self.message(answer), *others]

    def read(self, spec: RoundSpec, message: SealedMessage) -> NDArray[np.int64]:
        """A message's vector, with the keys of all parties."""
        shares = []
        for rank, part in enumerate(message.parts):
            keys = load_party_keys(self.stage.folder / f"party-{rank}", self.stage.deployment, rank)
            opened = open_part(part, spec, self.stage.deployment, rank, keys.sealing)
            unpacked = unpack(opened.body, spec.length, spec.bits) if rank == 0 else None
            shares.append(expand(opened.key, spec.length, spec.bits) if unpacked is None else unpacked)
        return combine(shares, spec.bits)

    def truth(self, theta: Tensor | None = None) -> NDArray[np.int64]:
        """The client's vector without noise."""
        start = self.initial if theta is None else theta
        load_flat_adapter(self.task.model, start)
        self.task.model.train()
        clip = clip_of(self.config, self.plan, None)
        own = [Keystream.system()]
        part = cohort_contributions(self.task, start, [VICTIM], own, self.config, clip, Diagnostics())
        found: NDArray[np.int64] = part.totals[0]
        return found


def refused(
    question: Callable[[Server], Mapping[str, Any]], config: RunConfig | None = None
) -> Callable[[Path], Outcome]:
    """An attack of one question, which wins if it is answered with parts."""

    def run(folder: Path) -> Outcome:
        with Stage(folder) as stage:
            server = Server(stage, config or configuration())
            answer = server.ask(**question(server))
            return Outcome("refused" not in answer, "an answer", (str(answer.get("refused", "")),))

    return run


def cancelling_task(config: RunConfig, data: int) -> FederatedTask:
    """A task with a hidden layer, whose records depend on `data`."""
    generator = torch.Generator().manual_seed(data)
    x = torch.randn(20 * CLIENTS, 64, generator=generator)
    labels = torch.randint(0, 10, (len(x),), generator=generator)
    torch.manual_seed(0)
    model = nn.Sequential()
    for name, layer in (("a", nn.Linear(64, 128)), ("r", nn.ReLU()), ("b", nn.Linear(128, 128)), ("s", nn.ReLU())):
        model.add_module(name, layer)
    model.add_module("fc", nn.Linear(128, 10))

    def batch(records: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        index = torch.from_numpy(records)
        return x[index], labels[index]

    return FederatedTask(
        name="made up",
        model=attach_adapter(model, config.lora),
        clients=tuple(np.array_split(np.arange(len(x)), CLIENTS)),
        batch=batch,
        loss=lambda output, inputs: F.cross_entropy(output, inputs[1], reduction="none"),
        evaluate=lambda model: {},
        source="made up",
    )
