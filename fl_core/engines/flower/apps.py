"""Flower's side of the engine: records for facts, a relay over its grid, a ClientApp around a node.

Pinned to flwr 1.41 and using its public names only. Large values travel as uint8 arrays, which Flower sends in pieces.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid

from fl_core.engines.flower.exchange import HELLO, RELAY, TRAIN, Facts, Value

__all__ = ["GridRelay", "Node", "client_app", "facts_of", "records_of"]

_POLL_S = 0.2
_PLAIN, _BYTES = "plain", "bytes"


class Node(Protocol):
    """Whatever answers the ServerApp's questions on a SuperNode."""

    def answer(self, kind: str, facts: Facts) -> dict[str, Value]:
        """The answer; never raises."""


def records_of(facts: Facts) -> RecordDict:
    """Facts as Flower's records."""
    plain = ConfigRecord({name: value for name, value in facts.items() if not isinstance(value, bytes)})
    arrays = {
        name: Array(np.frombuffer(value, dtype=np.uint8)) for name, value in facts.items() if isinstance(value, bytes)
    }
    return RecordDict({_PLAIN: plain, _BYTES: ArrayRecord(arrays)})


def facts_of(records: RecordDict) -> dict[str, Any]:
    """The facts of `records_of`; raises whatever Flower or numpy raise for records that are none."""
    plain = {name: list(value) if isinstance(value, list) else value for name, value in records[_PLAIN].items()}
    arrays = {name: array.numpy() for name, array in records[_BYTES].items()}
    if any(array.dtype != np.uint8 or array.ndim != 1 for array in arrays.values()):
        raise ValueError("an array that is not bytes")
    return {**plain, **{name: array.tobytes() for name, array in arrays.items()}}


class GridRelay:
    """A relay over Flower's grid.

    Args:
        grid: of the ServerApp.
        stop: set when the user interrupts; whoever waits then stops.
    """

    def __init__(self, grid: Grid, stop: threading.Event | None = None) -> None:
        self._grid, self._stop = grid, stop or threading.Event()

    def nodes(self) -> list[int]:
        """See `Relay.nodes`."""
        return list(self._grid.get_node_ids())

    def ask(
        self, questions: Mapping[int, tuple[str, Facts]], seconds: float
    ) -> Iterator[tuple[int, dict[str, Any] | None]]:
        """See `Relay.ask`."""
        deadline = time.monotonic() + seconds
        # Past its time to live the SuperLink drops a question, so that nobody computes for a round that is over.
        messages = [
            Message(records_of(facts), dst_node_id=node, message_type=kind, ttl=seconds)
            for node, (kind, facts) in questions.items()
        ]
        # One that was not taken (its node has just gone) has no id.
        waiting = {name for name in self._grid.push_messages(messages) if name}
        unheard = set(questions)
        while waiting and unheard and time.monotonic() < deadline:
            if self._stop.is_set():
                raise KeyboardInterrupt
            for reply in self._grid.pull_messages(waiting):
                waiting.discard(reply.metadata.reply_to_message_id)
                node = reply.metadata.src_node_id
                if node in unheard:
                    unheard.discard(node)
                    yield node, _read(reply)
            if waiting:
                self._stop.wait(_POLL_S)


def client_app(node_of: Callable[[Context], Node]) -> ClientApp:
    """A ClientApp that has `node_of` its context answer every question."""
    app = ClientApp()

    def respond(message: Message, context: Context) -> Message:
        answer = node_of(context).answer(message.metadata.message_type, facts_of(message.content))
        return Message(records_of(answer), reply_to=message)

    for kind in (HELLO, TRAIN, RELAY):
        category, _, action = kind.partition(".")
        register = app.train if category == "train" else app.query
        (register(action) if action else register())(respond)
    return app


def _read(reply: Message) -> dict[str, Any] | None:
    if reply.has_error():
        return None
    try:
        return facts_of(reply.content)
    except Exception:
        return None  # records come from nodes that nobody vouches for: whatever they raise, they are no answer
