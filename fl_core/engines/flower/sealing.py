"""One round's sealed messages of some clients, each computed by itself as its owner would.

Takes a question that was found to be on the node's own terms; gives parts sealed to the parties, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from torch import Tensor

from fl_core.adapters import flat_adapter, load_flat_adapter
from fl_core.broadcast import broadcast_digest, frozen_digest
from fl_core.cohort import Diagnostics, cohort_contributions
from fl_core.config import RunConfig
from fl_core.engines.flower.exchange import Facts, Refusal, Value, take
from fl_core.privacy_plan import plan_privacy
from fl_core.rounds import attempt_stream, clip_of, noisy_message, spec_of
from fl_core.task import FederatedTask
from secagg.envelopes import seal
from secagg.errors import SottoError
from secagg.messages import RoundSpec
from secagg.party.deployment import Deployment
from secagg.randomness import Keystream

__all__ = ["Sealing"]


class Sealing:
    """Computes, noises, splits and seals.

    Args:
        config: the node's own.
        deployment: whose parties the parts are sealed to.
        task: model and records.
    """

    def __init__(self, config: RunConfig, deployment: Deployment, task: FederatedTask) -> None:
        self._config, self._deployment, self._task = config, deployment, task
        length = len(flat_adapter(task.model))
        self._plan = plan_privacy(config, length, max(task.records, config.federation.clients))
        self._frozen = frozen_digest(task.model)
        seed = config.privacy.insecure_seed
        self._random = Keystream.system() if seed is None else Keystream.seeded(seed)

    def answer(self, facts: Facts, signing: Mapping[int, Ed25519PrivateKey]) -> dict[str, Value]:
        """Parts by the name `CLIENT.PARTY`.

        Args:
            facts: run, round, attempt, adapter, and with adaptive clipping the norm.
            signing: the clients that are asked, and their keys.

        Raises:
            Refusal: for a round that cannot be.
        """
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
        for client, key in signing.items():
            own = stream.child("client", client)
            # Each client by itself, whoever else this node stands for; what Diagnostics sees is thrown away.
            part = cohort_contributions(self._task, theta, [client], [own], config, clip, Diagnostics())
            message = noisy_message(spec, client, part.totals[0], plan.noise, parties, own)
            for party, sealed in enumerate(seal(message, spec, self._deployment, key).parts):
                answer[f"{client}.{party}"] = sealed
        return answer

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
