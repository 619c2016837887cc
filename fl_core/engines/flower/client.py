"""A client's node: computes its clients' contributions, adds their noise, splits, seals; answers nothing else.

It goes by its own configuration, its own copy of the deployment and its own keys: the ServerApp says only which round
it is and what the adapter is. What leaves here is sealed to the parties. An error about the clients' data is for this
node's log; the ServerApp learns that there was one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from torch import Tensor

from fl_core.adapters import load_flat_adapter
from fl_core.broadcast import broadcast_digest, frozen_digest
from fl_core.cohort import Diagnostics, contributions
from fl_core.config import RunConfig
from fl_core.engines.flower.exchange import HELLO, TRAIN, Facts, Refusal, Value, take, terms_of
from fl_core.privacy_plan import PrivacyPlan, plan_privacy
from fl_core.rounds import attempt_stream, clip_of, noisy_message, spec_of
from fl_core.task import FederatedTask
from secagg.envelopes import seal
from secagg.errors import SottoError
from secagg.messages import RoundSpec
from secagg.party.deployment_file import load_deployment
from secagg.party.keys import load_signing_key
from secagg.randomness import Keystream

__all__ = ["ClientNode", "ClientSettings"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClientSettings:
    """What a node knows by itself, whatever the ServerApp says.

    Attributes:
        config: its own copy of the run's configuration.
        parties: its own copy of the deployment's public file.
        keys: folder with the private folder `client-ID` of each of its clients; in a simulation with `cohort`.
        clients: ids of its clients; one in a deployment.
    """

    config: RunConfig
    parties: Path
    keys: Path
    clients: tuple[int, ...]


class ClientNode:
    """Answers the ServerApp's questions.

    Args:
        settings: its own.
        build_task: the model and the records; called with the first round.

    Raises:
        SottoError: for a deployment or keys that cannot be used.
    """

    def __init__(self, settings: ClientSettings, build_task: Callable[[RunConfig], FederatedTask]) -> None:
        config = settings.config
        self._config, self._clients, self._build = config, settings.clients, build_task
        self._deployment = load_deployment(settings.parties)
        self._terms = terms_of(config, self._deployment.digest)
        self._signing = {client: self._load_key(settings.keys, client) for client in settings.clients}
        seed = config.privacy.insecure_seed
        self._random = Keystream.system() if seed is None else Keystream.seeded(seed)

    def answer(self, kind: str, facts: Facts) -> dict[str, Value]:
        """The answer to one question; never raises, and never tells more than that there was an error."""
        try:
            if kind == HELLO:
                return {"role": "client", "clients": list(self._clients), "terms": self._terms}
            if kind == TRAIN:
                return self._train(facts)
            raise Refusal(f"a client does not answer {kind!r}")
        except Refusal as refusal:
            logger.warning("refused: %s", refusal)
            return {"refused": str(refusal)}
        except Exception:
            # Its words may be about the clients' records: they stay here.
            logger.exception("the round's messages could not be computed")
            return {"refused": "the node could not compute its messages; its own log says why"}

    def _train(self, facts: Facts) -> dict[str, Value]:
        asked = self._asked(facts)
        config, plan, tries = self._config, self._plan, self._config.aggregation.retries + 1
        theta = self._theta(take(facts, "theta", bytes))
        clip_norm = take(facts, "clip_norm", float) if plan.bit else None
        if clip_norm is not None and not 0 < clip_norm < float("inf"):
            raise Refusal(f"clip_norm is {clip_norm}; allowed: a number above 0")
        spec = self._spec(facts, broadcast_digest(self._frozen, theta))
        stream = attempt_stream(self._random, spec.round, *divmod(spec.attempt, tries))
        load_flat_adapter(self._task.model, theta)
        self._task.model.train()
        clip, parties = clip_of(config, plan, clip_norm), len(self._deployment.parties)
        answer: dict[str, Value] = {}
        for client in asked:
            own = stream.child("client", client)
            # Each client by itself, whoever else this node stands for; what Diagnostics sees is thrown away.
            (part,) = contributions(self._task, theta, [client], [own], config, clip, Diagnostics())
            message = noisy_message(spec, client, part.totals[0], plan.noise, parties, own)
            for party, sealed in enumerate(seal(message, spec, self._deployment, self._signing[client]).parts):
                answer[f"{client}.{party}"] = sealed
        return answer

    def _asked(self, facts: Facts) -> Sequence[int]:
        if take(facts, "terms", str) != self._terms:
            raise Refusal("the ServerApp has another configuration or deployment than this node")
        asked: list[Any] = take(facts, "clients", list)
        if not set(asked) <= set(self._clients) or len(set(asked)) != len(asked):
            raise Refusal(f"clients {asked} are asked for; this node has {list(self._clients)}")
        return asked

    def _spec(self, facts: Facts, model: str) -> RoundSpec:
        number, rounds = take(facts, "round", int), self._config.federation.rounds
        if not 1 <= number <= rounds:
            raise Refusal(f"round {number} is asked for; the run has rounds 1 to {rounds}")
        try:
            run, attempt = take(facts, "run", str), take(facts, "attempt", int)
            return spec_of(self._config, self._plan, run, number, attempt, model)
        except SottoError as error:
            raise Refusal(str(error)) from None

    def _theta(self, data: bytes) -> Tensor:
        if len(data) != 4 * self._plan.parameters:
            raise Refusal(f"an adapter of {len(data)} bytes; this model's has {4 * self._plan.parameters}")
        theta = torch.from_numpy(np.frombuffer(data, dtype="<f4").astype(np.float32))
        if not bool(torch.isfinite(theta).all()):
            raise Refusal("an adapter that is not finite")
        return theta

    def _load_key(self, keys: Path, client: int) -> Ed25519PrivateKey:
        if not 0 <= client < self._config.federation.clients:
            raise SottoError(f"client {client} is none of the {self._config.federation.clients} of this configuration")
        if self._deployment.enrolment.cohort is not None:
            return load_signing_key(keys / "cohort", self._deployment)
        return load_signing_key(keys / f"client-{client}", self._deployment, client)

    @cached_property
    def _task(self) -> FederatedTask:
        return self._build(self._config)

    @cached_property
    def _frozen(self) -> str:
        return frozen_digest(self._task.model)

    @cached_property
    def _plan(self) -> PrivacyPlan:
        length = sum(parameter.numel() for parameter in self._task.model.parameters() if parameter.requires_grad)
        return plan_privacy(self._config, length, max(self._task.records, self._config.federation.clients))
