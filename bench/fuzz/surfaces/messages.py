"""What clients, coordinators and relays send: sealed parts, round specifications, frames, spool places.

A party reads these from whoever reaches it. A sealed part that is not exactly what an enrolled client made for this
party and round must be refused, whatever it says. Keys are drawn anew for each process, so a try is repeated with its
positions and values, and other key bytes.
"""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from bench.fuzz.mutations import BYTES, Mutation, mixed
from bench.fuzz.oracle import Surface
from bench.fuzz.values import ODD, changed
from secagg.deployment.keys import load_party_keys
from secagg.deployment.new_deployment import create_deployment
from secagg.deployment.terms import Deployment, Policy
from secagg.envelopes import open_part, seal
from secagg.messages import ClientMessage, RoundSpec
from secagg.party.frames import Channel, ChannelBroken, Frame
from secagg.party.journal import Journal
from secagg.party.mesh import Mesh, MeshBroken
from secagg.party.spool import Spool
from secagg.party.state import Party
from secagg.randomness import Keystream
from secagg.round_state import MessageRefused
from secagg.sharing import split
from secagg.wire import WireError, decode, encode, spec_from_wire, spec_to_wire

__all__ = ["ODD_WIRE", "Enrolled", "enrolled", "frames", "new_header", "parsed", "party_frames", "sealed_parts",
           "signed_again", "specs"]  # fmt: skip

PREFIX = struct.Struct("!6sI")
MAGIC = b"SOTTO\x02"
_PURPOSE = b"sotto sealed share, version 1\0"
_FRAME = struct.Struct("!IQ")
ODD_WIRE = [
    *(value for value in ODD if not isinstance(value, int) or -(2**63) <= value < 2**64),
    b"",
    b"x" * 33,
    [[0, 1]],
]
_VECTOR = np.array([1, -2, 3, -(2**29), 2**29], dtype=np.int64)
_SPEC = RoundSpec("run", 3, 1, range(10), len(_VECTOR), 4, 2**16, 31, "ab")


@dataclass(frozen=True, repr=False)
class Enrolled:
    """Three parties, ten enrolled clients and messages of client 2.

    Attributes:
        deployment: the parties' public keys and the roster.
        sealing: each party's private key.
        signing: client 2's.
        spec: the open round.
        parts: of four good messages.
    """

    deployment: Deployment
    sealing: list[X25519PrivateKey]
    signing: Ed25519PrivateKey
    spec: RoundSpec
    parts: list[bytes]


def enrolled(folder: Path) -> Enrolled:
    """Make keys in `folder` and messages."""
    clients = [Ed25519PrivateKey.generate() for _ in range(10)]
    roster = {index: key.public_key().public_bytes_raw() for index, key in enumerate(clients)}
    addresses = [("127.0.0.1", 1000 + rank) for rank in range(3)]
    deployment = create_deployment(folder, addresses, Policy(n_min=1), roster)
    sealing = [load_party_keys(folder / f"party-{rank}", deployment, rank).sealing for rank in range(3)]
    parts: list[bytes] = []
    for _ in range(4):
        shares = split(_VECTOR, 3, Keystream.system(), _SPEC.bits)
        message = ClientMessage(_SPEC.run, _SPEC.round, _SPEC.attempt, (2,), shares)
        parts += seal(message, _SPEC, deployment, clients[2]).parts
    return Enrolled(deployment, sealing, clients[2], _SPEC, parts)


def parsed(part: bytes) -> tuple[bytes, bytes]:
    """A part's header, and what follows it."""
    end = PREFIX.size + PREFIX.unpack_from(part)[1]
    return part[PREFIX.size : end], part[end:]


def new_header(rng: random.Random, parts: Sequence[bytes]) -> bytes:
    """Any header, with lengths that fit."""
    header, rest = parsed(rng.choice(parts))
    odd = [rng.randbytes(len(header)), encode(rng.choice(ODD_WIRE)), encode([rng.choice(ODD_WIRE)] * 11), b""]
    header = rng.choice(odd)
    return PREFIX.pack(MAGIC, len(header)) + header + rest


def signed_again(signing: Ed25519PrivateKey) -> Mutation:
    """What an enrolled client can do that has lost its mind: any field, under its own good signature."""

    def mutate(rng: random.Random, parts: Sequence[bytes]) -> bytes:
        header, rest = parsed(rng.choice(parts))
        values = msgpack.unpackb(header)
        for _ in range(rng.randrange(1, 3)):
            values[rng.randrange(len(values))] = rng.choice(
                [*ODD_WIRE, [[2, 3]], [[3, 4]], rng.randrange(2**40), rng.randbytes(16)]
            )
        header = bytes(msgpack.packb(values))
        secret = rest[: 48 + 32]
        signature = signing.sign(_PURPOSE + header + secret)
        return PREFIX.pack(MAGIC, len(header)) + header + secret + signature + rest[len(secret) + 64 :]

    return mutate


def sealed_parts(folder: Path) -> Surface:
    """A sealed part at each party; there is none but the good ones that may be opened."""
    made = enrolled(folder / "deployment")
    mutations = (*BYTES, new_header, new_header, signed_again(made.signing))

    def draw(rng: random.Random) -> tuple[bytes, int]:
        return rng.choice(mutations)(rng, made.parts), rng.randrange(3)

    def read(case: tuple[bytes, int]) -> Any:
        part, party = case
        return open_part(part, made.spec, made.deployment, party, made.sealing[party])

    def wrong(case: tuple[bytes, int], found: Any) -> str | None:
        return None if case[0] in made.parts else "a part that no client made was opened"

    return Surface("sealed parts of clients", draw, read, wrong, (MessageRefused,), ("refused: ",),
                   100_000)  # fmt: skip


def specs(folder: Path) -> Surface:
    """A round's specification, as the coordinator sends it."""
    good = spec_to_wire(_SPEC)
    packed = [encode(good), encode(spec_to_wire(RoundSpec("other", 1, 0, [1, 5, 7], 3, 2, 2, 8, "cd")))]

    def structured(rng: random.Random) -> bytes:
        return _encoded(changed(rng, good, raw=False))

    def read(case: bytes) -> RoundSpec:
        return spec_from_wire(decode(case))

    def wrong(case: bytes, found: RoundSpec) -> str | None:
        same = encode(spec_to_wire(found)) == case
        return None if same else "a round was read that is another when it is written again"

    return Surface("rounds' specifications", lambda rng: mixed(rng, packed, structured), read, wrong,
                   (WireError,))  # fmt: skip


def frames(folder: Path) -> Surface:
    """Bytes on a party's or coordinator's socket."""
    whole = [
        _frame(["open", {"spec": spec_to_wire(_SPEC)}], b""),
        _frame(["batch", {"index": 0, "lengths": [3, 4]}], b"abcdefg"),
        _frame(["sum", {"digest": b"x" * 32, "bytes": 12}], bytes(40)),
    ]

    def lying(rng: random.Random) -> bytes:
        header = _encoded(changed(rng, ["batch", {"index": 0, "lengths": [3, 4]}], raw=False))
        sizes = (len(header), 0, 2**20, 2**25 + 1, 2**32 - 1)
        return _FRAME.pack(rng.choice(sizes), rng.choice([7, 0, 2**30, 2**31, 2**31 + 2**26, 2**63])) + header + b"abc"

    def read(case: bytes) -> Frame:
        ours, theirs = socket.socketpair()
        channel = Channel(ours, 5.0)
        try:
            theirs.sendall(case)
            theirs.close()
            return channel.receive(5.0)
        finally:
            channel.close()
            theirs.close()

    def wrong(case: bytes, found: Frame) -> str | None:
        again = _frame([found.kind, found.facts], bytes(found.payload))
        return None if case.startswith(again) else "a frame was read that is another when it is sent again"

    return Surface("frames between parties and coordinator", lambda rng: mixed(rng, whole, lying), read,
                   wrong, (ChannelBroken,), tries=20_000)  # fmt: skip


def party_frames(folder: Path) -> Surface:
    """Questions to a party (rank 1 of 2) in an open round, places in its spool among them."""
    folder.mkdir(parents=True, exist_ok=True)
    addresses = [("127.0.0.1", 1000 + rank) for rank in range(2)]
    deployment = create_deployment(folder / "deployment", addresses, Policy(n_min=1, timeout_s=1))
    sealing = load_party_keys(folder / "deployment" / "party-1", deployment, 1).sealing
    (folder / "spool").mkdir()
    (folder / "spool" / "parts.1").write_bytes(bytes(1000))
    (folder / "spool" / "link.1").symlink_to("/etc/passwd")
    (folder / "secret.1").write_bytes(b"not for a round")
    good: dict[str, dict[str, Any]] = {
        "open": {"spec": spec_to_wire(RoundSpec("run", 1, 0, range(4), 3, 1))},
        "batch": {"index": 0, "lengths": [100, 200]},
        "reveal": {},
        "x" * 30: {},
    }
    spooled = {"index": 0, "lengths": [100, 200], "spool": ["parts.1", 0]}
    odd_places = ["link.1", "../secret.1", "/etc/passwd", "../spool/parts.1", ".", "", "a\0", "\ud800", "x" * 5000]

    def draw(rng: random.Random) -> list[tuple[str, dict[str, Any], bytes]]:
        drawn: list[tuple[str, dict[str, Any], bytes]] = []
        if rng.random() < 0.7:
            drawn.append(("open", good["open"], b""))
        for _ in range(rng.randrange(1, 3)):
            kind = rng.choice(list(good))
            facts = good[kind] if kind != "batch" or rng.random() < 0.5 else spooled
            if facts is spooled and rng.random() < 0.3:
                facts = {**spooled, "spool": [rng.choice(odd_places), rng.choice([0, -1, 900, 2**62, 2**64])]}
            drawn.append((kind, changed(rng, facts, raw=False), rng.randbytes(rng.choice([0, 0, 300]))))
        return drawn

    def read(case: list[tuple[str, dict[str, Any], bytes]]) -> list[str]:
        ours, theirs = socket.socketpair()
        other = Channel(theirs, 1)
        journal = Journal(folder / "journal")
        mesh = Mesh(1, {0: Channel(ours, 1)}, 1)
        spool = Spool(folder / "spool")
        party = Party(1, deployment, sealing, journal, lambda label: mesh, lambda text: None, _no_dealer, spool)
        answers = []
        try:
            for kind, facts, payload in case:
                answer = party.handle(Frame(kind, facts, payload))
                answers.append("" if answer is None else answer.kind)
            if journal.openings._names:
                answers.append("opened")
        finally:
            party.forget()
            journal.close()
            (folder / "journal").unlink()
            spool.close()
            mesh.close()
            other.close()
        return answers

    def wrong(case: Any, found: list[str]) -> str | None:
        allowed = {"", "opened", "failed", "refused", "below"}
        if "opened" in found[len(case) :]:
            return "a sum was opened"
        return None if set(found) <= allowed else f"the party answered {found}"

    return Surface("questions to a party, spool places", draw, read, wrong, (ChannelBroken, MeshBroken),
                   tries=10_000)  # fmt: skip


def _no_dealer(label: bytes) -> Channel:
    raise ChannelBroken("there is no dealer")


def _frame(header: list[Any], payload: bytes) -> bytes:
    packed = encode(header)
    return _FRAME.pack(len(packed), len(payload)) + packed + payload


def _encoded(value: Any) -> bytes:
    """msgpack of any value; what it cannot write becomes text."""
    try:
        return encode(value)
    except (ValueError, OverflowError, TypeError):
        return encode(repr(value))
