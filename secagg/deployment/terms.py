"""Who takes part in a deployment and on what terms: parties, coordinator, dealer, clients' keys, limits.

Public data only: certificates, public keys, addresses, numbers. What cannot be (a party twice, a key of the wrong
size, a certificate that could vouch for others) is refused here, whoever made it; files are read in
`parties_file`. Nothing here may ever hold a private key.
"""

from __future__ import annotations

import hashlib
import json
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from secagg.deployment.checks import (
    DeploymentError,
    check_host,
    check_key,
    check_sealing_key,
    fingerprint,
    own_certificate,
    shown,
    whole,
)
from secagg.limits import DEFAULT_MAX_CLIENTS, MAX_CLIENTS, MAX_LENGTH

__all__ = ["Deployment", "Enrolment", "Peer", "Policy"]

_MAX_TIMEOUT_S = 86_400.0


@dataclass(frozen=True)
class Peer:
    """A party or the dealer, as the others see it.

    Raises `DeploymentError` for an address that nobody can reach, a certificate that is not one peer's own, or a
    sealing key that is none.

    Attributes:
        host, port: where the others connect to.
        certificate: PEM, self-signed, Ed25519; the only one that the others accept from this peer.
        sealing_key: X25519 public key, 32 bytes, that clients seal this party's shares to; b"" for the dealer.
    """

    host: str
    port: int
    certificate: str
    sealing_key: bytes = b""

    def __post_init__(self) -> None:
        check_host(self.host)
        object.__setattr__(self, "port", whole("port", self.port, 1, 65535))
        object.__setattr__(self, "certificate", own_certificate("certificate", self.certificate))
        if self.sealing_key:
            check_sealing_key("sealing_key", self.sealing_key)

    @property
    def address(self) -> str:
        """`host:port`, with brackets around an IPv6 host."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Policy:
    """Limits that hold whatever a round asks for. Raises `DeploymentError` for impossible ones.

    Attributes:
        n_min: fewest clients whose sum is ever opened.
        min_difference: fewest clients in which two opened sets of one model may differ; None: the round's n_min.
        timeout_s: longest time in seconds that a party waits for another.
        max_length: most coordinates of a message.
        max_clients: most clients of a round.
    """

    n_min: int = 2
    min_difference: int | None = None
    timeout_s: float = 60.0
    max_length: int = MAX_LENGTH
    max_clients: int = DEFAULT_MAX_CLIENTS

    def __post_init__(self) -> None:
        object.__setattr__(self, "max_length", whole("max_length", self.max_length, 1, MAX_LENGTH))
        object.__setattr__(self, "max_clients", whole("max_clients", self.max_clients, 1, MAX_CLIENTS))
        object.__setattr__(self, "n_min", whole("n_min", self.n_min, 1, self.max_clients))
        if self.min_difference is not None:
            least = whole("min_difference", self.min_difference, 1, self.max_clients)
            object.__setattr__(self, "min_difference", least)
        if isinstance(self.timeout_s, bool) or not isinstance(self.timeout_s, int | float):
            raise DeploymentError(f"timeout_s is {shown(self.timeout_s)}; allowed: seconds as a number")
        if not 0 < self.timeout_s <= _MAX_TIMEOUT_S:
            raise DeploymentError(
                f"timeout_s is {shown(self.timeout_s)}; allowed: seconds above 0, at most {_MAX_TIMEOUT_S:g}"
            )
        object.__setattr__(self, "timeout_s", float(self.timeout_s))


@dataclass(frozen=True)
class Enrolment:
    """Whose messages are taken. Raises `DeploymentError` unless it is exactly one of the two.

    Attributes:
        cohort: Ed25519 public key, 32 bytes, that may speak for any clients, many at once: a simulation.
        roster: client id -> Ed25519 public key, 32 bytes; each speaks for that client alone.
    """

    cohort: bytes | None = None
    roster: Mapping[int, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.cohort is None) == (not self.roster):
            raise DeploymentError("give either a cohort key or a roster of clients with one key each, not both or none")
        if self.cohort is not None:
            check_key("cohort", self.cohort)
        owners: dict[bytes, int] = {}
        for client in self.roster:
            whole("a client id of the roster", client, 0, 2**63 - 1)
        roster = {operator.index(client): self.roster[client] for client in sorted(self.roster)}
        for client, key in roster.items():
            check_key(f"roster.{client}", key)
            if key in owners:
                raise DeploymentError(f"roster.{client} is the key of client {owners[key]} too; allowed: one each")
            owners[key] = client
        object.__setattr__(self, "roster", roster)


@dataclass(frozen=True)
class Deployment:
    """Everything public about one deployment. Raises `DeploymentError` for one that cannot be.

    Attributes:
        parties: by rank; 0 holds bodies, the others seeds.
        coordinator: PEM certificate of the only one that may open, close and abort rounds.
        dealer: deals the parties' random triples for norm checks; None: there are none.
        enrolment: whose messages are taken.
        policy: limits that hold whatever a round asks for.
    """

    parties: tuple[Peer, ...]
    coordinator: str
    dealer: Peer | None
    enrolment: Enrolment
    policy: Policy = Policy()

    def __post_init__(self) -> None:
        object.__setattr__(self, "parties", tuple(self.parties))
        object.__setattr__(self, "coordinator", own_certificate("coordinator", self.coordinator))
        if len(self.parties) < 2:
            raise DeploymentError(
                f"parties has {len(self.parties)} of them; allowed: 2 or more (one alone would see every message)"
            )
        named = [(f"parties[{rank}]", peer) for rank, peer in enumerate(self.parties)]
        for name, peer in named:
            if not peer.sealing_key:
                raise DeploymentError(f"{name}.sealing_key is missing; clients seal their shares to it")
        if self.dealer is not None:
            if self.dealer.sealing_key:
                raise DeploymentError("dealer.sealing_key is set; clients send the dealer nothing, so it has none")
            named.append(("dealer", self.dealer))
        _refuse_twice([(name, f"address {peer.address}", (peer.host.lower(), peer.port)) for name, peer in named])
        _refuse_twice(
            [
                *((name, "certificate", fingerprint(peer.certificate)) for name, peer in named),
                ("coordinator", "certificate", fingerprint(self.coordinator)),
            ]
        )
        _refuse_twice([(name, "sealing_key", peer.sealing_key) for name, peer in named if peer.sealing_key])
        clients = len(self.enrolment.roster)
        if clients and not self.policy.n_min <= clients <= self.policy.max_clients:
            raise DeploymentError(
                f"the roster has {clients} clients; allowed: policy.n_min ({self.policy.n_min}) "
                f"to policy.max_clients ({self.policy.max_clients})"
            )

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of all that clients and parties must agree on: everything but the peers' addresses.

        An address may differ from where one stands (a tunnel, a translated network); it authenticates nobody.
        """
        roster = hashlib.sha256()
        for client, key in self.enrolment.roster.items():
            roster.update(client.to_bytes(8, "big") + key)
        policy, cohort = self.policy, self.enrolment.cohort
        terms = {
            "parties": [[fingerprint(peer.certificate), peer.sealing_key.hex()] for peer in self.parties],
            "coordinator": fingerprint(self.coordinator),
            "dealer": None if self.dealer is None else fingerprint(self.dealer.certificate),
            "cohort": None if cohort is None else cohort.hex(),
            "clients": len(self.enrolment.roster),
            "roster": roster.hexdigest(),
            "n_min": policy.n_min,
            "min_difference": policy.min_difference,
            "timeout_s": policy.timeout_s,
            "max_length": policy.max_length,
            "max_clients": policy.max_clients,
        }
        canonical = json.dumps(terms, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(b"sotto deployment 1\n" + canonical.encode()).digest()


def _refuse_twice(entries: Sequence[tuple[str, str, object]]) -> None:
    owners: dict[object, str] = {}
    for name, what, value in entries:
        if value in owners:
            raise DeploymentError(f"{name} has the {what} of {owners[value]}; allowed: one each")
        owners[value] = name
