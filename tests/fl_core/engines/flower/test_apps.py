"""Facts survive Flower's records, and the relay over Flower's grid outlives what nodes send."""

from __future__ import annotations

import threading
import time

import pytest

flwr = pytest.importorskip("flwr.app", reason="Flower is not installed")

from flwr.app import ConfigRecord, Error, Message, RecordDict  # noqa: E402

from fl_core.engines.flower.apps import GridRelay, client_app, facts_of, records_of  # noqa: E402
from fl_core.engines.flower.exchange import HELLO, RELAY, TRAIN  # noqa: E402


class Grid:
    """Answers what `replies` has for a node; an exception is raised when its reply is pulled."""

    def __init__(self, replies):
        self.replies, self.sent = replies, {}

    def get_node_ids(self):
        return list(self.replies)

    def push_messages(self, messages):
        for message in messages:
            message.metadata.__dict__["_message_id"] = f"m{message.metadata.dst_node_id}"
            self.sent[message.metadata.message_id] = message
        return [message.metadata.message_id for message in messages]

    def pull_messages(self, names):
        for name in names:
            found = self.replies[self.sent[name].metadata.dst_node_id]
            if isinstance(found, Exception):
                raise found
            if found is not None:
                yield Message(found, reply_to=self.sent[name])


@pytest.fixture(autouse=True)
def identity(monkeypatch):
    """Flower makes messages in processes that it has told who they are."""
    from flwr.supercore.task_identity import TaskIdentity

    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


FACTS = {"round": 3, "clip_norm": 0.5, "run": "abc", "clients": [1, 2, 2**40], "theta": bytes(range(256)), "0.1": b"x"}


def test_facts_survive_records():
    assert facts_of(records_of(FACTS)) == FACTS


def test_answers_come_and_whoever_sends_nonsense_has_not_answered():
    replies = {
        1: records_of({"role": "client"}),
        2: Error(0, "broken"),
        3: RecordDict({"other": ConfigRecord({"a": 1})}),
        4: ValueError("cannot be inflated"),
        5: None,
    }
    started = time.monotonic()
    relay = GridRelay(Grid(replies))
    heard = dict(relay.ask({node: (HELLO, {}) for node in replies}, 1.0))
    assert heard == {1: {"role": "client"}, 2: None, 3: None, 4: None}
    assert time.monotonic() - started < 30


def test_newcomers_are_asked_while_others_are_waited_for():
    grid = Grid({1: records_of({"role": "client"}), 2: records_of({"role": "client"})})
    asked = []

    def more():
        asked.append(1)
        return {2: (HELLO, {})} if len(asked) == 1 else {}

    heard = []
    for node, _ in GridRelay(grid).ask({1: (HELLO, {})}, 60.0, more):
        heard.append(node)
        if len(heard) == 2:
            break
    assert heard == [1, 2]


def test_the_wait_ends_when_there_is_nothing_more_to_ask():
    relay = GridRelay(Grid({1: records_of({"role": "client"}), 2: None}))
    heard = dict(relay.ask({node: (HELLO, {}) for node in (1, 2)}, 250.0, lambda: None))
    assert heard == {1: {"role": "client"}}


def test_an_interruption_ends_the_wait():
    stop = threading.Event()
    stop.set()
    with pytest.raises(KeyboardInterrupt):
        list(GridRelay(Grid({1: None}), stop).ask({1: (HELLO, {})}, 60.0))


def test_a_client_app_hands_every_kind_of_question_to_its_node():
    class Node:
        def answer(self, kind, facts):
            return {"kind": kind, "given": facts["parts"]}

    app = client_app(lambda context: Node())
    for kind in (HELLO, TRAIN, RELAY):
        message = Message(records_of({"parts": b"abc"}), dst_node_id=1, message_type=kind)
        assert facts_of(app(message, None).content) == {"kind": kind, "given": b"abc"}
