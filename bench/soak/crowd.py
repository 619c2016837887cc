"""The clients under load: threads that answer questions honestly, most of the time.

A process of its own (`python -m bench.soak.crowd --folder F ...`). Each client has its own enrolled key and its own
connection, and draws what it does with each question from a seed: it answers, or vanishes before or while it sends,
is slow or silent, sends its message twice, that of an earlier round, or a garbled one. While the folder holds a file
`quiet`, everyone is honest. Counts of what was done are written every second.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, cast

import torch

from bench.command import parser_of
from bench.soak.load import BITS, PARTIES, known_vector, load_config, load_spec
from fl_core.engines.flower.exchange import HELLO, TRAIN, terms_of
from secagg.deployment.keys import load_signing_key
from secagg.deployment.parties_file import load_deployment
from secagg.envelopes import seal
from secagg.messages import ClientMessage
from secagg.party.frames import Channel, ChannelBroken, Frame
from secagg.randomness import Keystream
from secagg.sharing import split

__all__ = ["MISDEEDS", "main"]

# Share of questions that are answered so.
MISDEEDS = {
    "vanished": 0.04,  # before sending
    "cut": 0.04,  # while sending
    "stalled": 0.01,  # in the middle of a frame, for longer than anybody waits
    "slow": 0.06,
    "silent": 0.03,
    "twice": 0.06,
    "replayed": 0.04,
    "garbled": 0.04,
}
_PATIENCE_S = 5.0
_STALL_S = 4.0


class _Client(threading.Thread):
    """One client and its connection."""

    def __init__(self, number: int, options: argparse.Namespace, counts: Counter[str]) -> None:
        super().__init__(daemon=True)
        self._number, self._options, self._counts = number, options, counts
        self._draw = random.Random(f"{options.seed}/{number}")
        self._random = Keystream.system()
        self._deployment = load_deployment(options.folder / "parties.yaml")
        self._key = load_signing_key(options.folder / "clients" / f"client-{number}", self._deployment, number)
        config = load_config(options.clients, options.n_min, options.wait_s)
        self._terms = terms_of(config, self._deployment.digest)
        self._before: dict[str, Any] = {}

    def run(self) -> None:
        """Connect, answer, come back, for ever."""
        while True:
            try:
                self._connected()
            except (ChannelBroken, OSError):
                self._counts["reconnected"] += 1
            time.sleep(self._draw.uniform(0.05, 0.5))

    def _connected(self) -> None:
        plain = socket.create_connection(("127.0.0.1", self._options.port), _PATIENCE_S)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        channel = Channel(plain, _PATIENCE_S)
        try:
            channel.send("hello", {"node": 1000 + self._number})
            while True:
                self._answer(channel, plain, channel.receive(None))
        finally:
            channel.close()

    def _answer(self, channel: Channel, plain: socket.socket, asked: Frame) -> None:
        question = asked.facts["question"]
        if asked.facts["kind"] == HELLO:
            channel.send(
                "answer",
                {"question": question, "role": "client", "clients": [self._number], "terms": self._terms},
            )
            return
        assert asked.facts["kind"] == TRAIN
        done = self._misdeed()
        self._counts[done or "honest"] += 1
        if done == "vanished":
            raise ChannelBroken("gone")
        if done == "silent":
            return
        parts = self._before if done == "replayed" and self._before else self._message(asked.facts)
        if done == "garbled":
            name = f"{self._number}.{self._draw.randrange(PARTIES)}"
            garbled = bytearray(parts[name])
            garbled[self._draw.randrange(len(garbled))] ^= 1 << self._draw.randrange(8)
            parts = {**parts, name: bytes(garbled)}
        facts = {"question": question, **parts}
        if done in ("cut", "stalled", "slow"):
            self._trickle(plain, facts, done)
            return
        for _ in range(1 + (done == "twice")):
            channel.send("answer", facts)

    def _misdeed(self) -> str:
        if (self._options.folder / "quiet").exists():
            return ""
        names = [*MISDEEDS, ""]
        shares = [*MISDEEDS.values(), 1 - sum(MISDEEDS.values())]
        return self._draw.choices(names, shares)[0]

    def _message(self, facts: dict[str, Any]) -> dict[str, Any]:
        options = self._options
        number, attempt = facts["round"], facts["attempt"]
        spec = load_spec(number, attempt, options.clients, options.length, options.n_min)
        vector = known_vector(self._number, number, attempt, options.length)
        message = ClientMessage(spec.run, number, attempt, (self._number,), split(vector, PARTIES, self._random, BITS))
        sealed = seal(message, spec, self._deployment, self._key)
        self._before = {f"{self._number}.{party}": part for party, part in enumerate(sealed.parts)}
        return self._before

    def _trickle(self, plain: socket.socket, facts: dict[str, Any], how: str) -> None:
        """Send a frame piece by piece, to its end or not."""
        bytes_ = _frame(facts)
        stop = len(bytes_) if how == "slow" else self._draw.randrange(1, len(bytes_))
        pause = self._draw.uniform(0.2, 1.6) * self._options.wait_s / 8 if how == "slow" else 0.0
        step = max(1, len(bytes_) // 8)
        for start in range(0, stop, step):
            plain.sendall(bytes_[start : min(stop, start + step)])
            time.sleep(pause)
        if how == "slow":
            return
        if how == "stalled":
            time.sleep(_STALL_S)
        raise ChannelBroken("cut")


class _Recorder:
    """A socket that keeps what is written to it."""

    def __init__(self) -> None:
        self.written = bytearray()

    def settimeout(self, seconds: float) -> None: ...

    def sendall(self, data: bytes) -> None:
        self.written += data


def _frame(facts: dict[str, Any]) -> bytes:
    """The bytes of an answer."""
    recorder = _Recorder()
    Channel(cast(socket.socket, recorder), 1.0).send("answer", facts)
    return bytes(recorder.written)


def main(arguments: list[str] | None = None) -> None:
    """Clients until the process is ended."""
    parser = parser_of("soak.crowd", __doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seed", required=True)
    parser.add_argument("--counts", type=Path, required=True)
    for name in ("clients", "n-min", "length"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--wait-s", type=float, required=True)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    counts: Counter[str] = Counter()
    clients = [_Client(number, options, counts) for number in range(options.clients)]
    for client in clients:
        client.start()
    while True:
        time.sleep(1.0)
        draft = options.counts.with_suffix(".tmp")
        draft.write_text(json.dumps({**counts, "alive": sum(client.is_alive() for client in clients)}))
        draft.replace(options.counts)


if __name__ == "__main__":
    main()
