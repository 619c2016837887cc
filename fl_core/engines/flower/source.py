"""Where a round's messages come from under Flower: nodes are asked, and their sealed parts handed to the parties.

Takes a relay; never waits longer than the configuration says, for anybody. Who is silent, late, wrong or gone is not
in the sum. Parts are opaque here: whether one belongs to the round is for the parties to judge.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor

from fl_core.config import RunConfig
from fl_core.engines.flower.aggregator import PREFIX
from fl_core.engines.flower.exchange import HELLO, RELAY, TRAIN, Facts, Relay
from fl_core.engines.flower.nodes import KnownNodes
from fl_core.engines.message_source import RoundRequest
from fl_core.rounds import begun_round
from secagg.aggregator import Aggregator, BeforeOpening
from secagg.envelopes import SealedMessage
from secagg.errors import PartyFailure
from secagg.messages import RoundSum
from secagg.party.spool import SpooledParts
from secagg.round_state import MessageRefused
from secagg.smpc import SmpcAggregator

__all__ = ["FlowerClients"]


class FlowerClients:
    """Clients and aggregator nodes behind a relay.

    Args:
        relay: carries the messages.
        config: the resolved configuration.
        aggregator: coordinator of the parties.
        note: told once of every node that is not what it should be.
    """

    def __init__(
        self, relay: Relay, config: RunConfig, aggregator: SmpcAggregator, note: Callable[[str], None]
    ) -> None:
        self._relay, self._config, self._aggregator = relay, config, aggregator
        self._nodes = KnownNodes(relay, config, aggregator.deployment, note)
        self.refused = 0

    def connect(self) -> None:
        """Wait for the nodes that the first round needs, as `KnownNodes.connect`.

        Raises:
            AggregationError: if they have not come within `flower.connect_s`.
        """
        self._nodes.connect()

    def open_sum(self, request: RoundRequest, aggregator: Aggregator, before_opening: BeforeOpening) -> RoundSum:
        """See `MessageSource.open_sum`."""
        self.refused = 0
        self._nodes.await_aggregators()
        spooled = self._config.flower.relay == "aggregators"
        with begun_round(aggregator, request.spec):
            sent: list[SealedMessage] = []
            for message in self._messages(request):
                if spooled or self._submit(message):
                    sent.append(message)
            if spooled and sent:
                self._aggregator.submit_spooled(self._spool(request, sent))
            opened = aggregator.close(before_opening)
        self.refused += len({client for message in sent for client in message.clients} - opened.clients)
        return opened

    def row(self) -> dict[str, float]:
        """Nothing: what a client sees stays with it."""
        return {}

    def _submit(self, message: SealedMessage) -> bool:
        try:
            self._aggregator.submit(message)
        except MessageRefused:
            self.refused += 1
            return False
        return True

    def _messages(self, request: RoundRequest) -> Iterator[SealedMessage]:
        """Sealed messages as they come, until all asked clients' are there or the round's time is over."""
        spec, present = request.spec, set(request.present)
        common: dict[str, Any] = {
            "terms": self._nodes.terms,
            "run": spec.run,
            "round": spec.round,
            "attempt": spec.attempt,
            "theta": _bytes_of(request.theta),
            "clip_norm": request.clip_norm or 0.0,
        }
        asked: dict[int, list[int]] = {}
        for client, node in self._nodes.owners().items():
            if client in present:
                asked.setdefault(node, []).append(client)
        questions: dict[int, tuple[str, Facts]] = {node: (HELLO, {}) for node in self._nodes.strangers()}
        questions |= {node: (TRAIN, {**common, "clients": clients}) for node, clients in asked.items()}
        waiting = set(asked) or set(questions)
        for node, answer in self._relay.ask(questions, self._config.flower.timeout_s):
            if node in asked:
                yield from self._read(asked[node], answer)
            else:
                self._nodes.learn(node, answer)
            waiting.discard(node)
            if not waiting:
                return  # a newcomer that has not answered is asked again in the next round

    def _read(self, clients: list[int], answer: Mapping[str, Any] | None) -> Iterator[SealedMessage]:
        """The messages in a node's answer; what is not one is counted as refused."""
        if answer is None or "refused" in answer:
            self._nodes.say(f"clients {clients}: {_reason(answer)}")
            return  # they sent no message that could be refused
        for client in clients:
            parts = tuple(answer.get(f"{client}.{party}") for party in range(self._aggregator.parties))
            if all(type(part) is bytes and part for part in parts):
                yield SealedMessage((client,), parts)  # type: ignore[arg-type]
            else:
                self._nodes.say(f"client {client}: an answer without a part for every party")
                self.refused += 1

    def _spool(self, request: RoundRequest, messages: list[SealedMessage]) -> list[SpooledParts]:
        """Have every aggregator node put its party's parts into the spool; says where they are.

        Raises:
            PartyFailure: if one of them did not; who comes back says again who it is.
        """
        spec, parties = request.spec, range(self._aggregator.parties)
        name = f"{PREFIX}{spec.run[:16]}-{spec.round}-{spec.attempt}-{os.urandom(6).hex()}"
        places = [
            SpooledParts(f"{name}.{rank}", 0, tuple(len(message.parts[rank]) for message in messages))
            for rank in parties
        ]
        ranks = {node: rank for rank, node in self._nodes.aggregators().items()}
        questions: dict[int, tuple[str, Facts]] = {
            node: (
                RELAY,
                {
                    "name": places[rank].name,
                    "lengths": list(places[rank].lengths),
                    "parts": b"".join(message.parts[rank] for message in messages),
                },
            )
            for node, rank in ranks.items()
        }
        patience = min(self._config.flower.timeout_s, self._config.flower.connect_s)
        taken = set()
        for node, answer in self._relay.ask(questions, patience):
            if answer is not None and answer.get("taken") == len(messages):
                taken.add(ranks[node])
            else:
                self._nodes.say(f"the aggregator node of party {ranks[node]}: {_reason(answer)}")
        lost = [rank for rank in parties if rank not in taken]
        if lost:
            for node, rank in ranks.items():
                if rank in lost:
                    self._nodes.forget_aggregator(node)
            named = " and ".join(map(str, lost))
            raise PartyFailure(f"the aggregator node of party {named} did not take its parts; the round is lost")
        return places


def _reason(answer: Mapping[str, Any] | None) -> str:
    if answer is None:
        return "no answer that could be read"
    return str(answer.get("refused", "an unexpected answer"))[:300]


def _bytes_of(theta: Tensor) -> bytes:
    return theta.detach().cpu().numpy().astype("<f4").tobytes()
