"""Which nodes are behind a relay, by what each says of itself: those of clients, and one beside each party.

Takes answers to the question who somebody is, and trusts none of them: a node on other terms, or with a strange answer,
is left out. It never waits longer than the configuration says, for anybody.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from fl_core.config import RunConfig
from fl_core.engines.flower.exchange import HELLO, Questions, Refusal, Relay, take, terms_of
from secagg.deployment.terms import Deployment
from secagg.errors import AggregationError, PartyFailure

__all__ = ["KnownNodes"]


class KnownNodes:
    """The nodes that have said who they are.

    Args:
        relay: carries questions and answers.
        config: the resolved configuration.
        deployment: the parties.
        note: told once of every node that is not what it should be.

    Attributes:
        terms: digest that a client's node must hold alike.
    """

    def __init__(self, relay: Relay, config: RunConfig, deployment: Deployment, note: Callable[[str], None]) -> None:
        self._relay, self._config, self._note = relay, config, note
        self._deployment, self._parties = deployment.digest.hex(), range(len(deployment.parties))
        self.terms = terms_of(config, deployment.digest)
        self._clients: dict[int, list[int]] = {}  # node -> its clients
        self._ranks: dict[int, int] = {}  # node -> rank of its party
        self._said: set[str] = set()

    def connect(self) -> None:
        """Wait for nodes of n_min clients, and with `flower.relay: aggregators` for a node beside every party.

        Of more clients as many as come without a pause of `flower.settle_s`; others join in the round after they came.

        Raises:
            AggregationError: if they have not come within `flower.connect_s`.
        """
        wanted, n_min = self._config.federation.clients, self._config.n_min

        def there(clients: int) -> bool:
            return len(self.owners()) >= clients and not self._missing_ranks()

        self._discover(lambda: there(wanted), lambda: there(n_min))
        self._refuse_missing_ranks(AggregationError)
        found = len(self.owners())
        if n_min <= found < wanted:
            self._note(f"{found} of {wanted} clients are there; who comes later joins in the round after")
        if found < n_min:
            raise AggregationError(
                f"nodes of {found} clients connected within {self._config.flower.connect_s:g} s; "
                f"federation.n_min needs {n_min}"
            )

    def await_aggregators(self) -> None:
        """Wait for a node beside every party, where the configuration asks for them.

        Raises:
            PartyFailure: if one has not come within `flower.connect_s`.
        """
        if self._missing_ranks():
            self._discover(lambda: not self._missing_ranks())
            self._refuse_missing_ranks(PartyFailure)

    def owners(self) -> dict[int, int]:
        """Client -> its node, among those that are connected; the first that said so."""
        here, owners = set(self._relay.nodes()), dict[int, int]()
        for node, clients in self._clients.items():
            for client in clients if node in here else ():
                if owners.setdefault(client, node) != node:
                    self.say(f"client {client} is claimed by two nodes; the one that came first is asked")
        return owners

    def aggregators(self) -> dict[int, int]:
        """Party's rank -> the node beside it, among those that are connected."""
        here = set(self._relay.nodes())
        return {rank: node for node, rank in self._ranks.items() if node in here}

    def strangers(self) -> list[int]:
        """Nodes that are connected and have not said who they are."""
        return [node for node in self._relay.nodes() if node not in self._clients and node not in self._ranks]

    def learn(self, node: int, answer: Mapping[str, Any] | None) -> None:
        """Remember what a node says of itself; None is an answer that could not be read."""
        if answer is None:
            self.say("a node did not say who it is; its own log says why, and it is asked again in the next round")
            return
        try:
            if take(answer, "role", str) == "aggregator":
                self._ranks[node] = self._rank_of(answer)
            else:
                self._clients[node] = self._clients_of(answer)
        except Refusal as refusal:
            self.say(f"left out: {refusal}")
            self._clients[node] = []

    def forget_aggregator(self, node: int) -> None:
        """Have an aggregator's node say again who it is, once it is there."""
        del self._ranks[node]

    def say(self, text: str) -> None:
        """Tell of a node that is not what it should be, once."""
        if text not in self._said:
            self._said.add(text)
            self._note(text)

    def _rank_of(self, answer: Mapping[str, Any]) -> int:
        rank = take(answer, "rank", int)
        if take(answer, "deployment", str) != self._deployment:
            raise Refusal(f"an aggregator node of party {rank} of another deployment")
        if rank not in self._parties:
            raise Refusal(f"an aggregator node of party {rank}, which the deployment does not have")
        return rank

    def _clients_of(self, answer: Mapping[str, Any]) -> list[int]:
        if take(answer, "terms", str) != self.terms:
            raise Refusal("a node with another configuration or deployment than the ServerApp's")
        clients: list[Any] = take(answer, "clients", list)
        everyone = self._config.federation.clients
        if any(type(client) is not int or not 0 <= client < everyone for client in clients):
            raise Refusal("a node with clients that the run does not have")
        return clients

    def _missing_ranks(self) -> list[int]:
        if self._config.flower.relay != "aggregators":
            return []
        there = self.aggregators()
        return [rank for rank in self._parties if rank not in there]

    def _refuse_missing_ranks(self, error: type[AggregationError]) -> None:
        missing = self._missing_ranks()
        if missing:
            named = " and ".join(map(str, missing))
            raise error(f"no aggregator node of party {named} came within {self._config.flower.connect_s:g} s")

    def _discover(self, enough: Callable[[], bool], acceptable: Callable[[], bool] = lambda: False) -> None:
        """Ask every node that has not said so who it is, and whoever comes; no longer than `flower.connect_s`.

        Args:
            enough: ends it at once.
            acceptable: ends it when nobody has said anything new for `flower.settle_s`.
        """
        asked: set[int] = set()
        learned = time.monotonic()

        def newcomers() -> Questions:
            fresh = [node for node in self.strangers() if node not in asked]
            asked.update(fresh)
            return {node: (HELLO, {}) for node in fresh}

        def more() -> Questions | None:
            settled = time.monotonic() - learned > self._config.flower.settle_s
            return None if settled and acceptable() else newcomers()

        if enough():
            return
        for node, answer in self._relay.ask(newcomers(), self._config.flower.connect_s, more):
            self.learn(node, answer)
            learned = time.monotonic()
            if enough():
                return
