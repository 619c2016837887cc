"""Sealed shares: what one client sends to each party, readable by that party alone and bound to one opening.

A part is `magic | header length | header | sealed | signature | body`. `sealed` is an HPKE message (RFC 9180, base
mode, X25519, HKDF-SHA-256, AES-256-GCM) to the party's key, with the header as its info. It holds a 32-byte key, and
this party's XOR shares of the XNoise seeds. For parties 1, 2, ... the key is the seed of their share; for party 0 it
opens `body`, the full-size share packed to the ring's bits under AES-256-GCM. The signature (Ed25519, RFC 8032) is the
client's, over header and sealed part. The header (`secagg.envelope_header`) says what the part is for, so that it fits
nowhere else, and changing any bit makes it unreadable. Whoever relays parts sees headers and sizes only.

Ours and not independently reviewed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from secagg.deployment.terms import Deployment, Enrolment
from secagg.envelope_header import NAME_BYTES, PREFIX, check_header, new_header, prefix_of, read_header
from secagg.messages import ClientMessage, RoundSpec
from secagg.packing import check_packed, pack, packed_bytes
from secagg.randomness import KEY_BYTES
from secagg.round_state import MessageRefused, check_message
from secagg.xor_shares import xor_split

__all__ = ["OpenedPart", "SealedMessage", "open_part", "part_bytes", "seal", "upload_bytes"]

_SEALED_EXTRA = 32 + 16  # encapsulated key and tag
_SIGNATURE = 64
_TAG = 16
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
        MessageRefused: if the message is for another round, or has other numbers of shares or coordinates.
    """
    parties = len(deployment.parties)
    check_message(message, spec, parties)
    noise_shares = [xor_split(seed, parties) for seed in message.noise_seeds]
    name = os.urandom(NAME_BYTES)
    parts = []
    for party, peer in enumerate(deployment.parties):
        header = new_header(spec, deployment, message.clients, party, name)
        key = os.urandom(KEY_BYTES) if party == 0 else message.shares.seeds[party - 1]
        secret = b"".join((key, *(shares[party] for shares in noise_shares)))
        sealed = _SUITE.encrypt(secret, X25519PublicKey.from_public_bytes(peer.sealing_key), info=header)
        signature = signing_key.sign(_PURPOSE + header + sealed)
        body = AESGCM(key).encrypt(_NONCE, pack(message.shares.body, spec.bits), header) if party == 0 else b""
        parts.append(b"".join((prefix_of(header), header, sealed, signature, body)))
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
    header, values = read_header(view)
    clients, name = check_header(values, spec, deployment, party)
    sealed_end = PREFIX.size + len(header) + _sealed_bytes(spec)
    body_start = sealed_end + _SIGNATURE
    body_length = _body_bytes(spec, party)
    if len(view) != body_start + body_length:
        raise MessageRefused(f"a part of {len(view)} bytes; this round's have {body_start + body_length}")
    sealed = bytes(view[PREFIX.size + len(header) : sealed_end])
    try:
        key = _sender(clients, deployment.enrolment)
        key.verify(bytes(view[sealed_end:body_start]), _PURPOSE + header + sealed)
    except InvalidSignature:
        raise MessageRefused(f"a part of client {clients[0]} whose signature is not that client's") from None
    try:
        secret = _SUITE.decrypt(sealed, sealing_key, info=header)
        body: bytes | bytearray = b""
        if party == 0:
            body = bytearray(body_length - _TAG) if room is None else room
            AESGCM(secret[:KEY_BYTES]).decrypt_into(_NONCE, view[body_start:], header, body)
            check_packed(body, spec.length, spec.bits)
    except (InvalidTag, ValueError):
        raise MessageRefused(
            f"a part of client {clients[0]} that was changed, sealed to another key, or packed in another way"
        ) from None
    shares = tuple(secret[at : at + KEY_BYTES] for at in range(KEY_BYTES, len(secret), KEY_BYTES))
    return OpenedPart(clients, name, secret[:KEY_BYTES], shares, body)


def part_bytes(spec: RoundSpec, deployment: Deployment, party: int, client: int = 0) -> int:
    """Length of one client's part for `party`."""
    header = len(new_header(spec, deployment, (client,), party, bytes(NAME_BYTES)))
    return PREFIX.size + header + _sealed_bytes(spec) + _SIGNATURE + _body_bytes(spec, party)


def upload_bytes(spec: RoundSpec, deployment: Deployment | None) -> int:
    """Bytes that one client sends; without a deployment (plaintext) just its packed vector and noise seeds."""
    if deployment is None:
        return packed_bytes(spec.length, spec.bits) + KEY_BYTES * spec.noise.removable
    client = max(spec.clients)
    return sum(part_bytes(spec, deployment, party, client) for party in range(len(deployment.parties)))


def _sealed_bytes(spec: RoundSpec) -> int:
    return _SEALED_EXTRA + KEY_BYTES * (1 + spec.noise.removable)


def _body_bytes(spec: RoundSpec, party: int) -> int:
    return packed_bytes(spec.length, spec.bits) + _TAG if party == 0 else 0


def _sender(clients: tuple[int, ...], enrolment: Enrolment) -> Ed25519PublicKey:
    if enrolment.cohort is not None:
        return Ed25519PublicKey.from_public_bytes(enrolment.cohort)
    if len(clients) != 1:
        raise MessageRefused(f"a joint part of {len(clients)} clients; only a simulated cohort may send one")
    key = enrolment.roster.get(clients[0])
    if key is None:
        raise MessageRefused(f"client {clients[0]} is not enrolled")
    return Ed25519PublicKey.from_public_bytes(key)
