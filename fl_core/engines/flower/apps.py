"""Flower's side of the engine: records for facts, a relay over its grid, a ClientApp around a node.

Pinned to flwr 1.41 and using its public names only. Large values travel as uint8 arrays, which Flower sends in pieces.
Nothing here judges what a message says: that is for whoever asked.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import httpx
import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid

from fl_core.engines.flower.exchange import HELLO, RELAY, TRAIN, Facts, Questions, Value

__all__ = ["GridRelay", "Node", "client_app", "facts_of", "records_of"]

_POLL_S = 0.2
_MORE_S = 2.0
_LEAST_TTL_S = 1.0
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
        self, questions: Questions, seconds: float, more: Callable[[], Questions | None] | None = None
    ) -> Iterator[tuple[int, dict[str, Any] | None]]:
        """See `Relay.ask`."""
        deadline, asked_more = time.monotonic() + seconds, time.monotonic()
        # Whom a question is for, by its id.
        waiting = self._push(questions, seconds)
        while (waiting or more) and time.monotonic() < deadline:
            if self._stop.is_set():
                raise KeyboardInterrupt
            if more and time.monotonic() - asked_more > _MORE_S:
                added = more()
                if added is None:
                    return
                waiting |= self._push(added, deadline - time.monotonic())
                asked_more = time.monotonic()
            for question in list(waiting):
                answered, answer = self._pull(question)
                if answered:
                    yield waiting.pop(question), answer
            self._stop.wait(_POLL_S)

    def _pull(self, question: str) -> tuple[bool, dict[str, Any] | None]:
        """Whether there is an answer, and what it says; one at a time, so that what is wrong with one stays its own."""
        try:
            for reply in self._grid.pull_messages([question]):
                return True, None if reply.has_error() else facts_of(reply.content)
        except httpx.HTTPError:
            raise  # the SuperLink, not the node
        except Exception:
            # Records come from nodes that nobody vouches for: whatever they raise, they are no answer.
            return True, None
        return False, None

    def _push(self, questions: Questions, seconds: float) -> dict[str, int]:
        # Past its time to live the SuperLink drops a question, so that nobody computes for a round that is over.
        messages = [
            Message(records_of(facts), dst_node_id=node, message_type=kind, ttl=max(seconds, _LEAST_TTL_S))
            for node, (kind, facts) in questions.items()
        ]
        # One that was not taken (its node has just gone) has no id, so the order is not to be relied on.
        pushed = {name: 0 for name in self._grid.push_messages(messages) if name}
        return {
            message.metadata.message_id: message.metadata.dst_node_id
            for message in messages
            if message.metadata.message_id in pushed
        }


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
