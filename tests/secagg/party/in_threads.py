"""Parties in threads of this process, joined by socket pairs, so that a test sees every frame and every state."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

import numpy as np

from secagg.deployment.keys import load_party_keys, load_signing_key
from secagg.deployment.new_deployment import create_deployment
from secagg.deployment.terms import Policy
from secagg.envelopes import SealedMessage, seal
from secagg.messages import ClientMessage, RoundSpec
from secagg.party.frames import Frame
from secagg.party.journal import Journal
from secagg.party.mesh import Mesh
from secagg.party.state import Party
from secagg.randomness import Keystream
from secagg.sharing import split
from secagg.wire import spec_to_wire
from tests.secagg.party.joined import meshes

SOURCE = Keystream.system()
_RUNS = itertools.count()
_FOLDERS = TemporaryDirectory(prefix="sotto-test-")  # removed with this process


def new_folder() -> Path:
    """A private folder that lives as long as this process."""
    return Path(mkdtemp(dir=_FOLDERS.name))


@lru_cache
def keys_of(parties: int, n_min: int = 1, **limits):
    """A deployment with a cohort key, and the folder of its keys."""
    folder = new_folder()
    policy = Policy(n_min=n_min, timeout_s=5, **limits)
    addresses = [("127.0.0.1", 1000 + rank) for rank in range(parties)]
    return folder, create_deployment(folder / "keys", addresses, policy)


class Parties:
    """`parties` state machines; `ask` hands each the same frame at once and gives their answers by rank."""

    def __init__(self, parties: int, journals: Path, **policy) -> None:
        folder, self.deployment = keys_of(parties, **policy)
        self.signing_key = load_signing_key(folder / "keys" / "cohort", self.deployment)
        self.run = f"run-{next(_RUNS)}"
        self.reports: list[list[str]] = [[] for _ in range(parties)]
        self.meshes: list[Mesh] = []
        self._pool = ThreadPoolExecutor(parties)
        self.journals = [Journal(journals / f"journal-{rank}") for rank in range(parties)]
        self.parties = []
        for rank in range(parties):
            keys = load_party_keys(folder / "keys" / f"party-{rank}", self.deployment, rank)
            self.parties.append(
                Party(
                    rank,
                    self.deployment,
                    keys.sealing,
                    self.journals[rank],
                    lambda label, rank=rank: self.meshes[rank],
                    self.reports[rank].append,
                    lambda label: None,
                )
            )

    def spec(self, clients=range(4), length=3, n_min=1, round_=1, attempt=0, **more) -> RoundSpec:
        return RoundSpec(self.run, round_, attempt, clients, length, n_min, **more)

    def open(self, spec: RoundSpec) -> list[Frame]:
        self.meshes = meshes(len(self.parties))
        self._batches = 0
        return self.ask(Frame("open", {"spec": spec_to_wire(spec)}))

    def sealed(self, spec: RoundSpec, client, vector, noise_seeds=()) -> SealedMessage:
        clients = client if isinstance(client, tuple) else (client,)
        shares = split(np.asarray(vector, dtype=np.int64), len(self.parties), SOURCE, spec.bits)
        message = ClientMessage(spec.run, spec.round, spec.attempt, clients, shares, noise_seeds)
        return seal(message, spec, self.deployment, self.signing_key)

    def batch(self, messages: list[SealedMessage]) -> list[Frame | None]:
        frames = []
        for rank in range(len(self.parties)):
            parts = [message.parts[rank] for message in messages]
            facts = {"index": self._batches, "lengths": [len(part) for part in parts]}
            frames.append(Frame("batch", facts, b"".join(parts)))
        self._batches += 1
        return self.ask(*frames)

    def ask(self, *frames: Frame) -> list:
        each = frames if len(frames) > 1 else frames * len(self.parties)
        work = [self._pool.submit(party.handle, frame) for party, frame in zip(self.parties, each, strict=True)]
        return [future.result(30) for future in work]

    def close(self) -> list[Frame]:
        return self.ask(Frame("close"))

    def reveal(self) -> list[Frame]:
        return self.ask(Frame("reveal"))

    def total(self) -> list[int]:
        return np.frombuffer(self.reveal()[0].payload, dtype="<i8").tolist()

    def end(self) -> None:
        for party in self.parties:
            party.forget()
        for journal in self.journals:
            journal.close()
