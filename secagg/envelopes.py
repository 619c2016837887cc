"""Sealed shares: what one client sends to each party, readable by that party alone and bound to one opening.

A part is `magic | header length | header | sealed | signature | body`. `sealed` is an HPKE message (RFC 9180, base
mode, X25519, HKDF-SHA-256, AES-256-GCM) to the party's key, with the header as its info. It holds a 32-byte key, and
this party's XOR shares of the XNoise seeds. For parties 1, 2, ... the key is the seed of their share; for party 0 it
opens `body`, the full-size share packed to the ring's bits under AES-256-GCM. The signature (Ed25519, RFC 8032) is the
client's, over header and sealed part. The header names deployment, run, round, attempt, clients, party, length, ring,
scale, model and everything else that was agreed for the round, so that a part fits nowhere else, and changing any bit
makes it unreadable. Whoever relays parts sees headers and sizes only.

Ours and not independently reviewed.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NoReturn

import numpy as np
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from secagg.messages import ClientMessage, RoundSpec
from secagg.packing import check_packed, pack, packed_bytes
from secagg.party.deployment import Deployment, Enrolment
from secagg.randomness import KEY_BYTES
from secagg.round_state import MessageRefused
from secagg.wire import WireError, decode, encode, ids_of, ranges_of, spec_to_wire

__all__ = [
    "OpenedPart",
    "SealedMessage",
    "combine_noise_shares",
    "deployment_terms",
    "open_part",
    "part_bytes",
    "seal",
    "upload_bytes",
]

# Of the format, and of the samplers' draws: parties that take XNoise's components away must draw as clients did.
VERSION = 2
_MAGIC = b"SOTTO" + bytes([VERSION])
_PREFIX = struct.Struct("!6sI")
_MAX_HEADER = 2**21
_SEALED_EXTRA = 32 + 16  # encapsulated key and tag
_SIGNATURE = 64
_TAG = 16
_NAME = 16
_NONCE = bytes(12)  # every body has a key of its own
_PURPOSE = b"sotto sealed share, version 1\0"
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


@dataclass(frozen=True, repr=False)
class SealedMessage:
    """One client's parts, by party.

    Attributes:
        clients: whose message it is; many only from a simulated cohort.
        parts: one for each party; `parts[0]` carries the full-size share.
    """

    clients: tuple[int, ...]
    parts: tuple[bytes, ...]

    @property
    def size(self) -> int:
        """Bytes that the client sends."""
        return sum(map(len, self.parts))


@dataclass(frozen=True, repr=False)
class OpenedPart:
    """What one party reads in its part.

    Attributes:
        clients: the senders.
        message: 16 random bytes, the same in all parts of one message, so that parts of two are never combined.
        key: the 32-byte seed of this party's share; unused at party 0.
        noise_shares: this party's XOR shares of the seeds of noise components 1, 2, ...
        body: party 0's share, packed; empty at the others.
    """

    clients: tuple[int, ...]
    message: bytes
    key: bytes
    noise_shares: tuple[bytes, ...]
    body: bytes | bytearray


def deployment_terms(spec: RoundSpec, deployment: Deployment) -> bytes:
    """SHA-256 of everything that clients and parties agree on for a round: who, what, how many, which noise."""
    return _terms(spec, deployment.digest)


@lru_cache(maxsize=8)  # asked for once a part
def _terms(spec: RoundSpec, deployment: bytes) -> bytes:
    # How many clients are expected decides which noise is removed; which ones is the parties' business.
    agreed = [len(spec.clients) if index == 3 else part for index, part in enumerate(spec_to_wire(spec))]
    return hashlib.sha256(encode([VERSION, deployment, agreed])).digest()


def seal(
    message: ClientMessage, spec: RoundSpec, deployment: Deployment, signing_key: Ed25519PrivateKey
) -> SealedMessage:
    """Seal a client's shares, one part for each party.

    Args:
        message: the shares, split for as many parties as the deployment has.
        spec: the round, as the client was told.
        deployment: the parties' keys.
        signing_key: the client's own, or the cohort's in a simulation.

    Raises:
        MessageRefused: if the message has other numbers of shares or coordinates than the round.
    """
    parties = len(deployment.parties)
    if len(message.shares.seeds) != parties - 1:
        _refuse(f"a message with {len(message.shares.seeds)} seeds; {parties} parties need {parties - 1}")
    if message.shares.bits != spec.bits:
        _refuse(f"a message shared in a ring of 2^{message.shares.bits}; this round's is 2^{spec.bits}")
    if len(message.shares.body) != spec.length:
        _refuse(f"a message of length {len(message.shares.body)}; this round's messages have length {spec.length}")
    if len(message.noise_seeds) != _noise_seeds(spec):
        _refuse(f"a message with {len(message.noise_seeds)} noise seeds; this round's have {_noise_seeds(spec)}")
    noise = _xor_shares(message.noise_seeds, parties)
    name = os.urandom(_NAME)
    parts = []
    for party, peer in enumerate(deployment.parties):
        header = _header(spec, deployment, message.clients, party, name)
        key = os.urandom(KEY_BYTES) if party == 0 else message.shares.seeds[party - 1]
        secret = b"".join((key, *noise[party]))
        sealed = _SUITE.encrypt(secret, X25519PublicKey.from_public_bytes(peer.sealing_key), info=header)
        signature = signing_key.sign(_PURPOSE + header + sealed)
        body = AESGCM(key).encrypt(_NONCE, pack(message.shares.body, spec.bits), header) if party == 0 else b""
        parts.append(b"".join((_PREFIX.pack(_MAGIC, len(header)), header, sealed, signature, body)))
    return SealedMessage(message.clients, tuple(parts))


def open_part(
    part: bytes | memoryview,
    spec: RoundSpec,
    deployment: Deployment,
    party: int,
    sealing_key: X25519PrivateKey,
    room: bytearray | None = None,
) -> OpenedPart:
    """Check and open one part; nothing but `MessageRefused` comes of any bytes.

    Args:
        part: as received.
        spec: the open round.
        deployment: who may send.
        party: this party's rank.
        sealing_key: this party's private key.
        room: memory of a packed vector's size for the body, to be used again for another part; None: fresh memory.

    Raises:
        MessageRefused: unless an enrolled client made exactly this part for this party and round.
    """
    view = memoryview(part)
    header, values = _read_header(view)
    clients, name = _check_header(values, spec, deployment, party)
    sealed_end = _PREFIX.size + len(header) + _SEALED_EXTRA + KEY_BYTES * (1 + _noise_seeds(spec))
    body_start = sealed_end + _SIGNATURE
    body_length = packed_bytes(spec.length, spec.bits) + _TAG if party == 0 else 0
    if len(view) != body_start + body_length:
        _refuse(f"a part of {len(view)} bytes; this round's have {body_start + body_length}")
    sealed = bytes(view[_PREFIX.size + len(header) : sealed_end])
    try:
        key = _sender(clients, deployment.enrolment)
        key.verify(bytes(view[sealed_end:body_start]), _PURPOSE + header + sealed)
    except InvalidSignature:
        _refuse(f"a part of client {clients[0]} whose signature is not that client's")
    try:
        secret = _SUITE.decrypt(sealed, sealing_key, info=header)
        body: bytes | bytearray = b""
        if party == 0:
            body = bytearray(body_length - _TAG) if room is None else room
            AESGCM(secret[:KEY_BYTES]).decrypt_into(_NONCE, view[body_start:], header, body)
            check_packed(body, spec.length, spec.bits)
    except (InvalidTag, ValueError):
        _refuse(f"a part of client {clients[0]} that was changed, sealed to another key, or packed in another way")
    shares = tuple(secret[at : at + KEY_BYTES] for at in range(KEY_BYTES, len(secret), KEY_BYTES))
    return OpenedPart(clients, name, secret[:KEY_BYTES], shares, body)


def part_bytes(spec: RoundSpec, deployment: Deployment, party: int, client: int = 0) -> int:
    """Length of one client's part for `party`."""
    header = len(_header(spec, deployment, (client,), party, bytes(_NAME)))
    body = packed_bytes(spec.length, spec.bits) + _TAG if party == 0 else 0
    return _PREFIX.size + header + _SEALED_EXTRA + KEY_BYTES * (1 + _noise_seeds(spec)) + _SIGNATURE + body


def upload_bytes(spec: RoundSpec, deployment: Deployment | None) -> int:
    """Bytes that one client sends; without a deployment (plaintext) just its packed vector and noise seeds."""
    if deployment is None:
        return packed_bytes(spec.length, spec.bits) + KEY_BYTES * _noise_seeds(spec)
    client = max(spec.clients)
    return sum(part_bytes(spec, deployment, party, client) for party in range(len(deployment.parties)))


def combine_noise_shares(shares: Sequence[bytes]) -> bytes:
    """The seed whose XOR shares these are."""
    joined = np.zeros(KEY_BYTES, dtype=np.uint8)
    for share in shares:
        joined ^= np.frombuffer(share, dtype=np.uint8)
    return joined.tobytes()


def _header(spec: RoundSpec, deployment: Deployment, clients: Sequence[int], party: int, name: bytes) -> bytes:
    return encode(
        [
            name,
            deployment.digest,
            spec.run,
            spec.round,
            spec.attempt,
            ranges_of(clients),
            party,
            spec.length,
            spec.bits,
            spec.scale,
            deployment_terms(spec, deployment),
        ]
    )


def _read_header(view: memoryview) -> tuple[bytes, list[Any]]:
    if len(view) < _PREFIX.size:
        _refuse(f"a part of {len(view)} bytes, too short for one")
    magic, length = _PREFIX.unpack_from(view)
    if magic != _MAGIC:
        _refuse(f"a part that is not of version {VERSION} of sealed shares")
    if length > _MAX_HEADER or _PREFIX.size + length > len(view):
        _refuse(f"a part whose header of {length} bytes is longer than it may be")
    header = bytes(view[_PREFIX.size : _PREFIX.size + length])
    try:
        values = decode(header)
    except WireError as error:
        _refuse(f"a part whose header is {error}")
    kinds = [bytes, bytes, str, int, int, list, int, int, int, int, bytes]
    if not isinstance(values, list) or [type(value) for value in values] != kinds:
        _refuse("a part whose header has other fields")
    return header, values


def _check_header(
    values: list[Any], spec: RoundSpec, deployment: Deployment, party: int
) -> tuple[tuple[int, ...], bytes]:
    name, digest, run, number, attempt, ranges, rank, length, bits, scale, terms = values
    if digest != deployment.digest:
        _refuse("a part for another deployment")
    if (run, number, attempt) != (spec.run, spec.round, spec.attempt):
        _refuse(
            f"a part for round {number} attempt {attempt} of run {str(run)[:8]!r}; "
            f"open is round {spec.round} attempt {spec.attempt} of run {spec.run[:8]!r}"
        )
    if rank != party:
        _refuse(f"a part for party {rank} at party {party}")
    if (length, bits, scale) != (spec.length, spec.bits, spec.scale):
        _refuse(
            f"a part of length {length}, ring 2^{bits}, scale {scale}; "
            f"this round's are of length {spec.length}, ring 2^{spec.bits}, scale {spec.scale}"
        )
    if terms != deployment_terms(spec, deployment):
        _refuse("a part for other terms (model, n_min, clients, noise or norm bound) than this round's")
    try:
        clients = tuple(ids_of(ranges, deployment.policy.max_clients))
    except WireError as error:
        _refuse(f"a part whose clients are wrong: {error}")
    if not clients or len(name) != _NAME:
        _refuse("a part that names no client or no message")
    return clients, name


def _sender(clients: tuple[int, ...], enrolment: Enrolment) -> Ed25519PublicKey:
    if enrolment.cohort is not None:
        return Ed25519PublicKey.from_public_bytes(enrolment.cohort)
    if len(clients) != 1:
        _refuse(f"a joint part of {len(clients)} clients; only a simulated cohort may send one")
    key = enrolment.roster.get(clients[0])
    if key is None:
        _refuse(f"client {clients[0]} is not enrolled")
    return Ed25519PublicKey.from_public_bytes(key)


def _noise_seeds(spec: RoundSpec) -> int:
    return max(0, len(spec.noise.components) - 1)


def _xor_shares(seeds: Sequence[bytes], parties: int) -> list[list[bytes]]:
    """XOR shares of each seed: any parties - 1 of them are uniform and independent of it."""
    shares: list[list[bytes]] = [[] for _ in range(parties)]
    for seed in seeds:
        drawn = [os.urandom(KEY_BYTES) for _ in range(parties - 1)]
        for party, share in enumerate((*drawn, combine_noise_shares((seed, *drawn)))):
            shares[party].append(share)
    return shares


def _refuse(reason: str) -> NoReturn:
    raise MessageRefused(f"refused: {reason}")
