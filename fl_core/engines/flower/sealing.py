"""One round's sealed messages of some clients, each computed by itself as its owner would.

Takes a question that was found to be on the node's own terms; gives parts sealed to the parties, and nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray
from torch import Tensor

from fl_core.adapters import flat_adapter, load_flat_adapter
from fl_core.adaptive_clipping import RoundClip
from fl_core.cohort import Diagnostics, cohort_contributions, refuse_mixed_records
from fl_core.config import RunConfig
from fl_core.engines.flower.exchange import Facts, Refusal, Value, take
from fl_core.model_digest import broadcast_digest, frozen_digest
from fl_core.privacy_plan import plan_privacy
from fl_core.rounds import attempt_stream, clip_of, noisy_message, spec_of
from fl_core.task import FederatedTask
from secagg.deployment.terms import Deployment
from secagg.envelopes import seal
from secagg.errors import SottoError
from secagg.messages import RoundSpec
from secagg.randomness import Keystream

__all__ = ["Question", "Sealing"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Question:
    """One attempt at a round as a node understands it.

    Attributes:
        spec: the round, on the node's own terms.
        theta: the broadcast adapter `[p]`, finite.
        clip_norm: adaptive clipping's; None with fixed clipping.
    """

    spec: RoundSpec
    theta: Tensor
    clip_norm: float | None


class Sealing:
    """Computes, noises, splits and seals.

    Args:
        config: the node's own.
        deployment: whose parties the parts are sealed to.
        task: model and records.
        clients: the node's.

    Raises:
        SottoError: if one record would change another's gradient.
    """

    def __init__(self, config: RunConfig, deployment: Deployment, task: FederatedTask, clients: Sequence[int]) -> None:
        self._config, self._deployment, self._task = config, deployment, task
        initial = flat_adapter(task.model)
        refuse_mixed_records(task, initial, clients, config)
        length = len(initial)
        self._plan = plan_privacy(config, length, max(task.records, config.federation.clients))
        self._frozen = frozen_digest(task.model)

    def read(self, facts: Facts) -> Question:
        """What is asked, checked against the node's own terms; nothing is computed.

        Args:
            facts: run, round, attempt, adapter, and with adaptive clipping the norm.

        Raises:
            Refusal: for a round that cannot be.
        """
        theta = self._theta(take(facts, "theta", bytes))
        clip_norm = take(facts, "clip_norm", float) if self._plan.bit else None
        if clip_norm is not None and not 0 < clip_norm < float("inf"):
            raise Refusal(f"clip_norm is {clip_norm}; allowed: a number above 0")
        return Question(self._spec(facts, broadcast_digest(self._frozen, theta)), theta, clip_norm)

    def answer(self, question: Question, signing: Mapping[int, Ed25519PrivateKey]) -> dict[str, Value]:
        """Parts by the name `CLIENT.PARTY`, of a length that the round alone decides.

        A client whose computation fails sends its noise alone, and only its own log says so: a refusal of an adapter
        that the asker chose would tell of the records without noise.

        Args:
            question: as `read` gives it.
            signing: the clients that are asked, and their keys.
        """
        spec, plan, tries = question.spec, self._plan, self._config.aggregation.retries + 1
        # Fresh for every answer, however long this process lives: whoever asks chooses run, round and attempt, and gets
        # no coin, noise or share a second time by asking for the same again.
        seed = self._config.privacy.insecure_seed
        random = Keystream.system() if seed is None else Keystream.seeded(seed)
        stream = attempt_stream(random, spec.round, *divmod(spec.attempt, tries))
        load_flat_adapter(self._task.model, question.theta)
        self._task.model.train()
        clip, parties = clip_of(self._config, plan, question.clip_norm), len(self._deployment.parties)
        answer: dict[str, Value] = {}
        for client, key in signing.items():
            own = stream.child("client", client)
            vector = self._contribution(question.theta, client, own, clip)
            message = noisy_message(spec, client, vector, plan.noise, parties, own)
            for party, sealed in enumerate(seal(message, spec, self._deployment, key).parts):
                answer[f"{client}.{party}"] = sealed
        return answer

    def _contribution(self, theta: Tensor, client: int, own: Keystream, clip: RoundClip) -> NDArray[np.int64]:
        try:
            # Each client by itself, whoever else this node stands for; what Diagnostics sees is thrown away.
            part = cohort_contributions(
                self._task, theta, [client], [own], self._config, clip, Diagnostics(), checked=True
            )
        except Exception:
            logger.exception("client %d could not compute its contribution and sends noise alone", client)
            return np.zeros(self._plan.length, dtype=np.int64)
        found: NDArray[np.int64] = part.totals[0]
        return found

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
