"""Flower's client nodes in this process, and a relay that carries their sealed answers without Flower.

Everything of the Flower engine but Flower: the ServerApp's source of messages, the nodes' own configurations, keys,
noise and sealing. For tests and measurements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fl_core.config import RunConfig
from fl_core.engines.flower.client import ClientNode, ClientSettings
from fl_core.engines.flower.exchange import Questions
from fl_core.engines.worker import TaskBuilder
from secagg import SmpcAggregator

__all__ = ["InMemoryRelay", "client_nodes"]


class InMemoryRelay:
    """Asks nodes of this process one after the other.

    Args:
        nodes: by id.
    """

    def __init__(self, nodes: Mapping[int, ClientNode]) -> None:
        self._nodes = nodes

    def nodes(self) -> list[int]:
        """See `Relay.nodes`."""
        return list(self._nodes)

    def ask(
        self, questions: Questions, seconds: float, more: Callable[[], Questions | None] | None = None
    ) -> Iterator[tuple[int, dict[str, Any] | None]]:
        """See `Relay.ask`; nobody comes later."""
        for node, (kind, facts) in questions.items():
            yield node, self._nodes[node].answer(kind, facts)


def client_nodes(config: RunConfig, aggregator: SmpcAggregator, build: TaskBuilder) -> dict[int, ClientNode]:
    """`flower.nodes` nodes that share the clients, as ids 100, 101, ...; one a client by default."""
    folder = Path(aggregator.key_folder)
    clients = config.federation.clients
    count = config.flower.nodes or clients
    return {
        100 + index: ClientNode(
            ClientSettings(config, folder / "parties.yaml", folder, tuple(range(index, clients, count))), build
        )
        for index in range(count)
    }
