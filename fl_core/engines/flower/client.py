"""A client's node: says who it is, has its clients' messages computed and sealed, and answers nothing else.

It goes by its own configuration, its own copy of the deployment and its own keys: the ServerApp says only which round
it is and what the adapter is, and gets no more answers than the client agreed to. An error before there is a model and
records is for this node's log, and the ServerApp learns that there was one; what goes wrong with an adapter of its
choice it never learns. A deployed node is a process a message, so nothing heavy is imported before a round.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fl_core.config import RunConfig
from fl_core.engines.flower.answers import ANSWERS, AnswerBook, answers_allowed
from fl_core.engines.flower.exchange import HELLO, TRAIN, Facts, Refusal, Value, take, terms_of
from secagg.core_dumps import forbid_core_dumps
from secagg.deployment.keys import load_signing_key
from secagg.deployment.parties_file import load_deployment
from secagg.errors import SottoError

if TYPE_CHECKING:
    from fl_core.engines.flower.sealing import Sealing
    from fl_core.task import FederatedTask
    from secagg.messages import RoundSpec

__all__ = ["ClientNode", "ClientSettings"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClientSettings:
    """What a node knows by itself, whatever the ServerApp says.

    Attributes:
        config: its own copy of the run's configuration.
        parties: its own copy of the deployment's public file.
        keys: folder with the private folder `client-ID` of each of its clients, where it also counts its answers; in
            a simulation with `cohort`, which counts none.
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
        forbid_core_dumps()
        config = settings.config
        self._config, self._clients, self._build = config, settings.clients, build_task
        self._deployment = load_deployment(settings.parties)
        self._terms = terms_of(config, self._deployment.digest)
        self._signing = {client: self._load_key(settings.keys, client) for client in settings.clients}
        own_keys = self._deployment.enrolment.cohort is None
        self._books = {
            client: AnswerBook(settings.keys / f"client-{client}" / ANSWERS, client)
            for client in (settings.clients if own_keys else ())
        }
        self._sealing: Sealing | None = None

    def answer(self, kind: str, facts: Facts) -> dict[str, Value]:
        """The answer to one question; never raises, and never tells more than that there was an error."""
        try:
            if kind == HELLO:
                return {"role": "client", "clients": list(self._clients), "terms": self._terms}
            if kind == TRAIN:
                asked, sealing = self._asked(facts), self._ready()
                question = sealing.read(facts)
                self._count(asked, question.spec)
                return sealing.answer(question, {client: self._signing[client] for client in asked})
            raise Refusal(f"a client does not answer {kind!r}")
        except Refusal as refusal:
            logger.warning("refused: %s", refusal)
            return {"refused": str(refusal)}
        except Exception:
            # Its words may be about the clients' records: they stay here.
            logger.exception("the round's messages could not be computed")
            return {"refused": "the node could not compute its messages; its own log says why"}

    def _asked(self, facts: Facts) -> Sequence[int]:
        if take(facts, "terms", str) != self._terms:
            raise Refusal("the ServerApp has another configuration or deployment than this node")
        asked: list[Any] = take(facts, "clients", list)
        if not set(asked) <= set(self._clients) or len(set(asked)) != len(asked):
            raise Refusal(f"clients {asked} are asked for; this node has {list(self._clients)}")
        return asked

    def _count(self, asked: Sequence[int], spec: RoundSpec) -> None:
        allowed = answers_allowed(self._config)
        for client in asked:
            if client in self._books:
                self._books[client].count(self._terms, allowed, spec.run, spec.round, spec.attempt)

    def _load_key(self, keys: Path, client: int) -> Ed25519PrivateKey:
        if not 0 <= client < self._config.federation.clients:
            raise SottoError(f"client {client} is none of the {self._config.federation.clients} of this configuration")
        if self._deployment.enrolment.cohort is not None:
            return load_signing_key(keys / "cohort", self._deployment)
        return load_signing_key(keys / f"client-{client}", self._deployment, client)

    def _ready(self) -> Sealing:
        if self._sealing is None:
            from fl_core.engines.flower.sealing import Sealing

            self._sealing = Sealing(self._config, self._deployment, self._build(self._config), self._clients)
        return self._sealing
