"""The coordinator under load: `FlowerClients` and `SmpcAggregator` as a deployment has them, round after round.

A process of its own (`python -m bench.soak.coordinator --folder F ...`). In place of Flower a relay over TCP carries
questions and answers, since Flower starts a process a message and a round would take half a minute: clients connect,
say who they are, and are asked. Rounds are retried as `RoundLoop` does. A log, one JSON line each, says what was agreed
before every opening, and what was opened or refused; whether it was right is judged elsewhere (`bench.soak.checks`).
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import queue
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from bench.command import parser_of
from bench.soak.load import PARTIES, RETRIES, load_config, load_spec
from fl_core.engines.flower.exchange import Questions
from fl_core.engines.flower.source import FlowerClients
from fl_core.engines.message_source import RoundRequest
from secagg.errors import AggregationError, PartyFailure
from secagg.messages import RoundSpec
from secagg.openings import OpeningRefused
from secagg.party.frames import Channel, ChannelBroken
from secagg.randomness import Keystream
from secagg.round_state import BelowMinimum
from secagg.smpc import SmpcAggregator

__all__ = ["SocketRelay", "main"]

_PATIENCE_S = 3.0  # with a client in the middle of a frame
_MORE_S = 0.2


class SocketRelay:
    """Questions to clients and answers back, over one TCP connection a client; see `exchange.Relay`.

    Args:
        listening: a bound socket in the listening state.

    Attributes:
        counts: connections, connections that broke, answers, answers that came too late.
    """

    def __init__(self, listening: socket.socket) -> None:
        self._socket = listening
        self._nodes: dict[int, Channel] = {}
        self._lock = threading.Lock()
        # No SimpleQueue: CPython's waits for ever if a signal's handler outlasts the time-out.
        self._answers: queue.Queue[tuple[int, dict[str, Any]]] = queue.Queue()
        self._question = 0
        self.counts: Counter[str] = Counter()
        threading.Thread(target=self._accept, daemon=True).start()

    def nodes(self) -> list[int]:
        """See `Relay.nodes`."""
        with self._lock:
            return list(self._nodes)

    def ask(
        self, questions: Questions, seconds: float, more: Callable[[], Questions | None] | None = None
    ) -> Iterator[tuple[int, dict[str, Any] | None]]:
        """See `Relay.ask`; an answer that comes twice is yielded twice."""
        self._question += 1
        number, deadline = self._question, time.monotonic() + seconds
        waiting = self._push(number, questions)
        while (waiting or more) and (left := deadline - time.monotonic()) > 0:
            try:
                node, facts = self._answers.get(timeout=min(left, _MORE_S))
            except queue.Empty:
                added = more() if more else {}
                if added is None:
                    return
                waiting |= self._push(number, added)
                continue
            if facts.pop("question", None) != number:
                self.counts["late"] += 1
                continue
            waiting.discard(node)
            yield node, facts

    def _push(self, number: int, questions: Questions) -> set[int]:
        asked = set()
        for node, (kind, facts) in questions.items():
            with self._lock:
                channel = self._nodes.get(node)
            if channel is not None:
                with contextlib.suppress(ChannelBroken):
                    channel.send("ask", {**facts, "question": number, "kind": kind})
                    asked.add(node)
        return asked

    def _accept(self) -> None:
        while True:
            plain, _ = self._socket.accept()
            threading.Thread(target=self._listen, args=(Channel(plain, _PATIENCE_S),), daemon=True).start()

    def _listen(self, channel: Channel) -> None:
        node = -1
        self.counts["connections"] += 1
        try:
            node = int(channel.receive(_PATIENCE_S).facts["node"])
            with self._lock:
                old = self._nodes.get(node)
                self._nodes[node] = channel
            if old is not None:
                old.close()
            while True:
                frame = channel.receive(None)
                self.counts["answers"] += 1
                self._answers.put((node, frame.facts))
        except (ChannelBroken, KeyError, TypeError, ValueError):
            self.counts["broken"] += 1
        finally:
            channel.close()
            with self._lock:
                if self._nodes.get(node) is channel:
                    del self._nodes[node]


class _Rounds:
    """Opens one round after another and writes down how each ended."""

    def __init__(self, options: argparse.Namespace, log: int) -> None:
        self._options, self._log = options, log
        self._config = load_config(options.clients, options.n_min, options.wait_s)
        self.relay = SocketRelay(socket.socket(fileno=options.listen_fd))
        self._aggregator = SmpcAggregator(PARTIES, options.timeout_s, options.folder)
        self._source = FlowerClients(self.relay, self._config, self._aggregator, lambda text: self._say("note", text))
        self._nothing = torch.zeros(1)

    def begin(self) -> None:
        """Connect to parties and clients."""
        self._aggregator.start()
        self._source.connect()
        self._write({"kind": "begun"})

    def round(self, number: int) -> None:
        """One round, tried again if a party fails; as `RoundLoop._round` and `_open`."""
        everyone = list(range(self._options.clients))
        for attempt in range(RETRIES + 1):
            spec = load_spec(number, attempt, len(everyone), self._options.length, self._options.n_min)
            began = time.monotonic()
            request = RoundRequest(spec, everyone, self._nothing, None, Keystream.system())
            facts: dict[str, Any] = {"round": number, "attempt": attempt}
            try:
                opened = self._source.open_sum(request, self._aggregator, self._entry(spec))
            except PartyFailure as failure:
                self._write({"kind": "failed", **facts, "sentence": str(failure), "seconds": _since(began)})
                continue
            except (BelowMinimum, OpeningRefused, AggregationError) as refusal:
                self._write({"kind": "refused", **facts, "sentence": str(refusal), "seconds": _since(began)})
                return
            digest = hashlib.sha256(opened.total.astype("<i8").tobytes()).hexdigest()
            facts |= {"clients": sorted(opened.clients), "sum": digest, "left_out": self._source.refused}
            self._write({"kind": "opened", **facts, "seconds": _since(began)})
            return
        self._write({"kind": "given up", "round": number, "seconds": 0.0})

    def _entry(self, spec: RoundSpec) -> Callable[[frozenset[int]], None]:
        def before_opening(clients: frozenset[int]) -> None:
            facts = {"round": spec.round, "attempt": spec.attempt, "clients": sorted(clients)}
            self._write({"kind": "entry", **facts})

        return before_opening

    def _say(self, kind: str, text: str) -> None:
        self._write({"kind": kind, "sentence": text})

    def _write(self, facts: dict[str, Any]) -> None:
        os.write(self._log, json.dumps(facts).encode() + b"\n")


def _since(began: float) -> float:
    return round(time.monotonic() - began, 3)


def main(arguments: list[str] | None = None) -> None:
    """Rounds until the time is over."""
    parser = parser_of("soak.coordinator", __doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--listen-fd", type=int, required=True, help="a listening socket for clients")
    for name in ("clients", "n-min", "length"):
        parser.add_argument(f"--{name}", type=int, required=True)
    for name in ("wait-s", "timeout-s", "seconds"):
        parser.add_argument(f"--{name}", type=float, required=True)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rounds = _Rounds(options, os.open(options.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    rounds.begin()
    deadline, number = time.monotonic() + options.seconds, 0
    while time.monotonic() < deadline:
        number += 1
        rounds.round(number)
    rounds._write({"kind": "ended", **rounds.relay.counts})


if __name__ == "__main__":
    main()
