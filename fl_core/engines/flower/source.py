"""Where a round's messages come from under Flower: nodes are asked, and their sealed parts handed to the parties.

Takes a relay; never waits longer than the configuration says, for anybody. Who is silent, late, wrong or gone is not
in the sum. Parts are opaque here: whether one belongs to the round is for the parties to judge.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor

from fl_core.config import RunConfig
from fl_core.engines.flower.aggregator import PREFIX
from fl_core.engines.flower.exchange import HELLO, RELAY, TRAIN, Facts, Questions, Refusal, Relay, take, terms_of
from fl_core.engines.message_source import RoundRequest
from fl_core.rounds import begun_round
from secagg.aggregator import Aggregator, BeforeOpening
from secagg.envelopes import SealedMessage
from secagg.errors import AggregationError, PartyFailure
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
        self._relay, self._config, self._aggregator, self._note = relay, config, aggregator, note
        self._deployment = aggregator.deployment.digest.hex()
        self._terms = terms_of(config, aggregator.deployment.digest)
        self._clients: dict[int, list[int]] = {}  # node -> its clients
        self._ranks: dict[int, int] = {}  # node -> rank of its party
        self._said: set[str] = set()
        self.refused = 0

    def connect(self) -> None:
        """Wait for nodes of n_min clients, and with `flower.relay: aggregators` for a node beside every party.

        Of more clients as many as come without a pause of `flower.settle_s`; others join in the round after they came.

        Raises:
            AggregationError: if they have not come within `flower.connect_s`.
        """
        wanted = self._config.federation.clients

        def there(clients: int) -> bool:
            return len(self._owners()) >= clients and not self._missing_ranks()

        self._discover(lambda: there(wanted), lambda: there(self._config.n_min))
        self._require_ranks(AggregationError)
        found = len(self._owners())
        if self._config.n_min <= found < wanted:
            self._note(f"{found} of {wanted} clients are there; who comes later joins in the round after")
        if found < self._config.n_min:
            raise AggregationError(
                f"nodes of {found} clients connected within {self._config.flower.connect_s:g} s; "
                f"federation.n_min needs {self._config.n_min}"
            )

    def open_sum(self, request: RoundRequest, aggregator: Aggregator, before_opening: BeforeOpening) -> RoundSum:
        """See `MessageSource.open_sum`."""
        self.refused = 0
        spooled = self._config.flower.relay == "aggregators"
        if spooled and self._missing_ranks():
            self._discover(lambda: not self._missing_ranks())
            self._require_ranks(PartyFailure)
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
            "terms": self._terms,
            "run": spec.run,
            "round": spec.round,
            "attempt": spec.attempt,
            "theta": _bytes_of(request.theta),
            "clip_norm": request.clip_norm or 0.0,
        }
        asked: dict[int, list[int]] = {}
        for client, node in self._owners().items():
            if client in present:
                asked.setdefault(node, []).append(client)
        questions: dict[int, tuple[str, Facts]] = {node: (HELLO, {}) for node in self._strangers()}
        questions |= {node: (TRAIN, {**common, "clients": clients}) for node, clients in asked.items()}
        waiting = set(asked) or set(questions)
        for node, answer in self._relay.ask(questions, self._config.flower.timeout_s):
            if node in asked:
                yield from self._read(asked[node], answer)
            else:
                self._learn(node, answer)
            waiting.discard(node)
            if not waiting:
                return  # a newcomer that has not answered is asked again in the next round

    def _read(self, clients: list[int], answer: Mapping[str, Any] | None) -> Iterator[SealedMessage]:
        """The messages in a node's answer; what is not one is counted as refused."""
        if answer is None or "refused" in answer:
            self._say(f"clients {clients}: {_reason(answer)}")
            return  # they sent no message that could be refused
        for client in clients:
            parts = tuple(answer.get(f"{client}.{party}") for party in range(self._aggregator.parties))
            if all(type(part) is bytes and part for part in parts):
                yield SealedMessage((client,), parts)  # type: ignore[arg-type]
            else:
                self._say(f"client {client}: an answer without a part for every party")
                self.refused += 1

    def _spool(self, request: RoundRequest, messages: list[SealedMessage]) -> list[SpooledParts]:
        """Have every aggregator node put its party's parts into the spool; says where they are."""
        spec = request.spec
        name = f"{PREFIX}{spec.run[:16]}-{spec.round}-{spec.attempt}-{os.urandom(6).hex()}"
        places = [
            SpooledParts(f"{name}.{rank}", 0, tuple(len(message.parts[rank]) for message in messages))
            for rank in range(self._aggregator.parties)
        ]
        nodes = self._aggregator_nodes()
        questions: dict[int, tuple[str, Facts]] = {
            nodes[rank]: (
                RELAY,
                {
                    "name": place.name,
                    "lengths": list(place.lengths),
                    "parts": b"".join(message.parts[rank] for message in messages),
                },
            )
            for rank, place in enumerate(places)
            if rank in nodes
        }
        patience = min(self._config.flower.timeout_s, self._config.flower.connect_s)
        taken = set()
        for node, answer in self._relay.ask(questions, patience):
            if answer is not None and answer.get("taken") == len(messages):
                taken.add(self._ranks[node])
            else:
                self._say(f"the aggregator node of party {self._ranks[node]}: {_reason(answer)}")
        lost = [rank for rank in range(self._aggregator.parties) if rank not in taken]
        if lost:
            for rank in lost:  # whoever comes back says who it is
                self._ranks.pop(nodes.get(rank, -1), None)
            named = " and ".join(map(str, lost))
            raise PartyFailure(f"the aggregator node of party {named} did not take its parts; the round is lost")
        return places

    def _require_ranks(self, error: type[AggregationError]) -> None:
        missing = self._missing_ranks()
        if missing:
            named = " and ".join(map(str, missing))
            raise error(f"no aggregator node of party {named} came within {self._config.flower.connect_s:g} s")

    def _missing_ranks(self) -> list[int]:
        if self._config.flower.relay != "aggregators":
            return []
        return [rank for rank in range(self._aggregator.parties) if rank not in self._aggregator_nodes()]

    def _aggregator_nodes(self) -> dict[int, int]:
        """Party's rank -> its node, among those that are connected."""
        here = set(self._relay.nodes())
        return {rank: node for node, rank in self._ranks.items() if node in here}

    def _owners(self) -> dict[int, int]:
        """Client -> its node, among those that are connected; the first that said so."""
        here, owners = set(self._relay.nodes()), dict[int, int]()
        for node, clients in self._clients.items():
            for client in clients if node in here else ():
                if owners.setdefault(client, node) != node:
                    self._say(f"client {client} is claimed by two nodes; the one that came first is asked")
        return owners

    def _strangers(self) -> list[int]:
        return [node for node in self._relay.nodes() if node not in self._clients and node not in self._ranks]

    def _discover(self, enough: Callable[[], bool], acceptable: Callable[[], bool] = lambda: False) -> None:
        """Ask every node that has not said so who it is, and whoever comes; no longer than `flower.connect_s`.

        Args:
            enough: ends it at once.
            acceptable: ends it when nobody has said anything new for `flower.settle_s`.
        """
        asked: set[int] = set()
        learned = time.monotonic()

        def newcomers() -> Questions:
            fresh = [node for node in self._strangers() if node not in asked]
            asked.update(fresh)
            return {node: (HELLO, {}) for node in fresh}

        def more() -> Questions | None:
            settled = time.monotonic() - learned > self._config.flower.settle_s
            return None if settled and acceptable() else newcomers()

        if enough():
            return
        for node, answer in self._relay.ask(newcomers(), self._config.flower.connect_s, more):
            self._learn(node, answer)
            learned = time.monotonic()
            if enough():
                return

    def _learn(self, node: int, answer: Mapping[str, Any] | None) -> None:
        if answer is None:
            self._say("a node did not say who it is; its own log says why, and it is asked again in the next round")
            return
        try:
            role = take(answer, "role", str)
            if role == "aggregator":
                rank = take(answer, "rank", int)
                if take(answer, "deployment", str) != self._deployment:
                    raise Refusal(f"an aggregator node of party {rank} of another deployment")
                self._ranks[node] = rank
                return
            if take(answer, "terms", str) != self._terms:
                raise Refusal("a node with another configuration or deployment than the ServerApp's")
            clients: list[Any] = take(answer, "clients", list)
            everyone = self._config.federation.clients
            if any(type(client) is not int or not 0 <= client < everyone for client in clients):
                raise Refusal("a node with clients that the run does not have")
        except Refusal as refusal:
            self._say(f"left out: {refusal}")
            self._clients[node] = []
        else:
            self._clients[node] = clients

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._note(text)


def _reason(answer: Mapping[str, Any] | None) -> str:
    return (
        "no answer that could be read" if answer is None else str(answer.get("refused", "an unexpected answer"))[:300]
    )


def _bytes_of(theta: Tensor) -> bytes:
    return theta.detach().cpu().numpy().astype("<f4").tobytes()
