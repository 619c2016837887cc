"""The header of a sealed part: what the part is for, readable by whoever relays it and bound to all that is sealed.

It names deployment, run, round, attempt, clients, party, length, ring, scale, and by a digest everything else that was
agreed for the round, so that a part fits nowhere else. Any bytes are a header of the open round or refused in a
sentence. Nothing secret is ever in it.

Ours and not independently reviewed.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from secagg.deployment.terms import Deployment
from secagg.messages import RoundSpec
from secagg.round_state import MessageRefused
from secagg.wire import WireError, decode, encode, ids_of, ranges_of, spec_to_wire

__all__ = ["NAME_BYTES", "PREFIX", "check_header", "deployment_terms", "new_header", "prefix_of", "read_header"]

# Of the format, and of the samplers' draws: parties that take XNoise's components away must draw as clients did.
_VERSION = 2
NAME_BYTES = 16
_MAGIC = b"SOTTO" + bytes([_VERSION])
PREFIX = struct.Struct("!6sI")  # magic and length of the header
_MAX_HEADER = 2**21


def deployment_terms(spec: RoundSpec, deployment: Deployment) -> bytes:
    """SHA-256 of everything that clients and parties agree on for a round: who, what, how many, which noise."""
    return _terms(spec, deployment.digest)


@lru_cache(maxsize=8)  # asked for once a part
def _terms(spec: RoundSpec, deployment: bytes) -> bytes:
    # How many clients are expected decides which noise is removed; which ones is the parties' business.
    agreed = [len(spec.clients) if index == 3 else part for index, part in enumerate(spec_to_wire(spec))]
    return hashlib.sha256(encode([_VERSION, deployment, agreed])).digest()


def new_header(spec: RoundSpec, deployment: Deployment, clients: Sequence[int], party: int, name: bytes) -> bytes:
    """The header of one part.

    Args:
        spec: the round.
        deployment: whose parties it is for.
        clients: the senders.
        party: rank of the party that can open it.
        name: 16 random bytes, the same in all parts of one message.
    """
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


def prefix_of(header: bytes) -> bytes:
    """What a part begins with, before its header."""
    return PREFIX.pack(_MAGIC, len(header))


def read_header(part: memoryview) -> tuple[bytes, list[Any]]:
    """The header that a part begins with, as bytes and as values that have the types of a header's.

    Raises:
        MessageRefused: for a part that has none.
    """
    if len(part) < PREFIX.size:
        raise MessageRefused(f"a part of {len(part)} bytes, too short for one")
    magic, length = PREFIX.unpack_from(part)
    if magic != _MAGIC:
        raise MessageRefused(f"a part that is not of version {_VERSION} of sealed shares")
    if length > _MAX_HEADER or PREFIX.size + length > len(part):
        raise MessageRefused(f"a part whose header of {length} bytes is longer than it may be")
    header = bytes(part[PREFIX.size : PREFIX.size + length])
    try:
        values = decode(header)
    except WireError as error:
        raise MessageRefused(f"a part whose header is {error}") from None
    kinds = [bytes, bytes, str, int, int, list, int, int, int, int, bytes]
    if not isinstance(values, list) or [type(value) for value in values] != kinds:
        raise MessageRefused("a part whose header has other fields")
    return header, values


def check_header(
    values: list[Any], spec: RoundSpec, deployment: Deployment, party: int
) -> tuple[tuple[int, ...], bytes]:
    """The clients and the message's name in a header that is for this party in this round.

    Raises:
        MessageRefused: saying for what else it is.
    """
    name, digest, run, number, attempt, ranges, rank, length, bits, scale, terms = values
    if digest != deployment.digest:
        raise MessageRefused("a part for another deployment")
    if (run, number, attempt) != (spec.run, spec.round, spec.attempt):
        raise MessageRefused(
            f"a part for round {number} attempt {attempt} of run {str(run)[:8]!r}; "
            f"open is round {spec.round} attempt {spec.attempt} of run {spec.run[:8]!r}"
        )
    if rank != party:
        raise MessageRefused(f"a part for party {rank} at party {party}")
    if (length, bits, scale) != (spec.length, spec.bits, spec.scale):
        raise MessageRefused(
            f"a part of length {length}, ring 2^{bits}, scale {scale}; "
            f"this round's are of length {spec.length}, ring 2^{spec.bits}, scale {spec.scale}"
        )
    if terms != deployment_terms(spec, deployment):
        raise MessageRefused("a part for other terms (model, n_min, clients, noise or norm bound) than this round's")
    try:
        clients = tuple(ids_of(ranges, deployment.policy.max_clients))
    except WireError as error:
        raise MessageRefused(f"a part whose clients are wrong: {error}") from None
    if not clients or len(name) != NAME_BYTES:
        raise MessageRefused("a part that names no client or no message")
    return clients, name
