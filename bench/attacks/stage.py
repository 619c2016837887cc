"""Real parties for attacks to be run against: real TLS, state machines and journals, in threads of this process.

Threads, so that one check can be taken away and nothing else is different. The attacker is whoever calls: it holds the
coordinator's keys, and the keys of whichever clients it made itself. Clients have keys of their own.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import threading
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray

from secagg.coordinator.links import ANSWERS
from secagg.coordinator.members import Members
from secagg.deployment.checks import fingerprint
from secagg.deployment.keys import load_party_keys, load_signing_key
from secagg.deployment.new_deployment import create_deployment
from secagg.deployment.new_keys import new_keys
from secagg.deployment.terms import Policy
from secagg.envelopes import SealedMessage, seal
from secagg.errors import SottoError
from secagg.messages import ClientMessage, RoundSpec
from secagg.party import daemon
from secagg.party.dealer_daemon import run_dealer
from secagg.party.frames import ChannelBroken
from secagg.party.journal import Journal
from secagg.party.listener import COORDINATOR, Listener, listening_socket
from secagg.party.mesh import party_role
from secagg.party.state import Party
from secagg.party.tls import tls_context
from secagg.randomness import Keystream
from secagg.sharing import split
from secagg.wire import ids_of, spec_to_wire

__all__ = ["CLIENTS", "LENGTH", "N_MIN", "Stage", "vector_of"]

CLIENTS, LENGTH, N_MIN = 9, 6, 3
_TIMEOUT_S = 5.0
_SOURCE = Keystream.system()
_RUNS = itertools.count()


def vector_of(client: int) -> NDArray[np.int64]:
    """A client's secret; any two differ, and so do the sums of any two sets."""
    return np.array([(client + 1) * 7**power for power in range(LENGTH)], dtype=np.int64)


class Stage:
    """Two parties that listen, and a coordinator that does what it likes.

    Args:
        folder: for keys and journals.
        dealer: whether there is one, for norm checks.
        timeout_s: how long parties wait for each other.

    Attributes:
        sentences: what parties answered instead of what they were asked for.
    """

    parties = 2

    def __init__(self, folder: Path, dealer: bool = False, timeout_s: float = _TIMEOUT_S) -> None:
        self.folder, self._timeout_s = folder, timeout_s
        self.sentences: list[str] = []
        sockets = [listening_socket(_NOWHERE, None) for _ in range(self.parties + dealer)]
        addresses = [("127.0.0.1", listening.getsockname()[1]) for listening in sockets]
        made = {client: new_keys(f"client-{client}") for client in range(CLIENTS)}
        for client, keys in made.items():
            keys.write(folder / f"client-{client}")
        self.deployment = create_deployment(
            folder,
            addresses[: self.parties],
            Policy(n_min=N_MIN, timeout_s=timeout_s),
            {client: keys.public for client, keys in made.items()},
            addresses[self.parties] if dealer else None,
        )
        self._serving: list[tuple[Listener, Journal]] = []
        for rank in range(self.parties):
            self._serve(rank, sockets[rank].detach())
        if dealer:
            arguments = (folder / "parties.yaml", folder / "dealer", sockets[self.parties].detach())
            threading.Thread(target=run_dealer, args=arguments, daemon=True).start()
        self.links = Members(folder, timeout_s + _TIMEOUT_S).links

    def spec(self, run: str = "", round_: int = 1, attempt: int = 0, **more: Any) -> RoundSpec:
        """A round of all clients, of a run of its own unless one is named."""
        kinds = {"clients": range(CLIENTS), "length": LENGTH, "n_min": N_MIN, "model": "aa", **more}
        return RoundSpec(run or self.new_run(), round_, attempt, **kinds)

    def new_run(self) -> str:
        """A name that no run had."""
        return f"run-{next(_RUNS)}"

    def sealed(
        self,
        spec: RoundSpec,
        client: int,
        vector: NDArray[np.int64] | None = None,
        key: Ed25519PrivateKey | None = None,
    ) -> SealedMessage:
        """What a client sends: its own vector under its own key, unless told otherwise."""
        shares = split((vector_of(client) if vector is None else vector).copy(), self.parties, _SOURCE, spec.bits)
        message = ClientMessage(spec.run, spec.round, spec.attempt, (client,), shares)
        own = key or load_signing_key(self.folder / f"client-{client}", self.deployment, client)
        return seal(message, spec, self.deployment, own)

    def all_sealed(self, spec: RoundSpec, clients: Collection[int]) -> list[SealedMessage]:
        """The messages of some honest clients."""
        return [self.sealed(spec, client) for client in clients]

    def opened(
        self, specs: RoundSpec | Sequence[RoundSpec], messages: Sequence[SealedMessage]
    ) -> tuple[NDArray[np.int64], frozenset[int]] | None:
        """The sum of what the parties take of these messages, and whose they say it is; None if they open nothing.

        Args:
            specs: the round, or what each party is told of it.
            messages: by client; a part may be anything.
        """
        told = [specs] * self.parties if isinstance(specs, RoundSpec) else list(specs)
        try:
            self.links.connect()
            if not self._agreed("open", [{"spec": spec_to_wire(spec)} for spec in told]):
                return None
            for rank in (*range(1, self.parties), 0):
                parts = [message.parts[rank] for message in messages]
                self.links.send(rank, "batch", {"index": 0, "lengths": [len(part) for part in parts]}, *parts)
            closed = self._agreed("close", [{}] * self.parties)
            answers = closed and self._agreed("reveal", [{}] * self.parties)
            if not closed or not answers:
                return None
            return np.frombuffer(answers[0].payload, "<i8"), frozenset(ids_of(closed[0].facts["clients"]))
        except (SottoError, ChannelBroken) as error:
            self.sentences.append(str(error))
            self.links.close()
            return None

    def total(self, specs: RoundSpec | Sequence[RoundSpec], messages: Sequence[SealedMessage]) -> Any:
        """The sum alone, or None."""
        found = self.opened(specs, messages)
        return None if found is None else found[0]

    def refusals(self, rank: int = 0) -> list[str]:
        """Reasons in a party's journal."""
        lines = (self.folder / f"party-{rank}" / "journal").read_text().splitlines()
        return [record["reason"] for record in map(json.loads, lines) if record["kind"] == "refused"]

    @property
    def said(self) -> tuple[str, ...]:
        """Every sentence that the attacker met, or that the parties wrote down."""
        journals = [reason for rank in range(self.parties) for reason in self.refusals(rank)]
        return tuple(dict.fromkeys([*self.sentences, *journals]))

    def restart(self) -> None:
        """End all parties and start them again on the same journals and addresses."""
        self.close()
        self.links = Members(self.folder, self._timeout_s + _TIMEOUT_S).links
        for rank in range(self.parties):
            self._serve(rank, listening_socket(self.deployment.parties[rank], None).detach())

    def close(self) -> None:
        """End the parties."""
        self.links.close()
        for listener, journal in self._serving:
            with contextlib.suppress(OSError):  # a thread that waits in accept would keep the address
                listener._socket.shutdown(socket.SHUT_RDWR)
            listener.close()
            journal.close()
        self._serving.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _agreed(self, kind: str, facts: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Every party's answer, or none and a sentence."""
        for rank in range(self.parties):
            self.links.send(rank, kind, facts[rank])
        answers = self.links._collect(list(range(self.parties)), ANSWERS[kind])
        if answers[0].kind in ("below", "refused"):
            self.sentences.append(str(answers[0].facts["reason"]))
            self.links.close()
            return []
        return answers

    def _serve(self, rank: int, descriptor: int) -> None:
        """What `run_daemon` does, but for ending."""
        deployment = self.deployment
        own = load_party_keys(self.folder / f"party-{rank}", deployment, rank)
        others = [peer.certificate for other, peer in enumerate(deployment.parties) if other != rank]
        roles = {
            fingerprint(peer.certificate): party_role(other)
            for other, peer in enumerate(deployment.parties)
            if other != rank
        }
        roles[fingerprint(deployment.coordinator)] = COORDINATOR
        dealer = [] if deployment.dealer is None else [deployment.dealer.certificate]
        server = tls_context(True, own.tls_certificate, own.tls_key, [*others, deployment.coordinator])
        client = tls_context(False, own.tls_certificate, own.tls_key, [*others, *dealer])
        journal = Journal(self.folder / f"party-{rank}" / "journal")
        listener = Listener(
            listening_socket(deployment.parties[rank], descriptor), server, roles, deployment.policy.timeout_s
        )
        self._serving.append((listener, journal))

        def serve() -> None:
            while True:
                session = daemon._Session(rank, deployment, listener, client, listener.coordinator())
                session.serve(
                    Party(rank, deployment, own.sealing, journal, session.join, session.report, session.dealer)
                )

        threading.Thread(target=serve, name=f"party {rank}", daemon=True).start()


class _Nowhere:
    host, port = "127.0.0.1", 0


_NOWHERE: Any = _Nowhere()
