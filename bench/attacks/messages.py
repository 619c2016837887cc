"""Forged, swapped, changed and doubled messages; clients, parties and strangers that do not follow the protocol.

The coordinator's forgeries aim at the victim again: whoever knows all other messages of a sum knows the last.
"""

from __future__ import annotations

import unittest.mock
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.attacks.attack import EXACT, NOTHING, VICTIM, Attack, Check, Outcome
from bench.attacks.checks import TERMS
from bench.attacks.stage import LENGTH, N_MIN, Stage, vector_of
from secagg import envelope_header, envelopes
from secagg.deployment.keys import load_signing_key
from secagg.envelopes import SealedMessage
from secagg.messages import RoundNoise, RoundSpec
from secagg.party import mesh, state
from secagg.party.crypten_backend import open_sum
from secagg.ring import add_wrap
from secagg.round_state import RoundState
from secagg.wire import encode

__all__ = ["ATTACKS"]

_COORDINATOR, _CLIENT = "coordinator", "client"
_ZERO = np.zeros(LENGTH, dtype=np.int64)
_STRANGE = Ed25519PrivateKey.generate()
_BOUND = 1000


def _stolen(stage: Stage, found: Any, won: bool, gained: str) -> Outcome:
    won = found is not None and won
    return Outcome(won, gained if won else NOTHING, stage.said)


def _alone_among(forged: Callable[[Stage, RoundSpec, int], SealedMessage]) -> Callable[[Path], Outcome]:
    """One honest client among messages of zeros that the coordinator made up."""

    def run(folder: Path) -> Outcome:
        with Stage(folder) as stage:
            spec = stage.spec()
            messages = [stage.sealed(spec, VICTIM), *(forged(stage, spec, client) for client in range(1, N_MIN + 1))]
            found = stage.total(spec, messages)
            return _stolen(stage, found, np.array_equal(found, vector_of(VICTIM)), EXACT)

    return run


def _forged(stage: Stage, spec: RoundSpec, client: int) -> SealedMessage:
    return stage.sealed(spec, client, _ZERO, _STRANGE)


def _signed_by_another(stage: Stage, spec: RoundSpec, client: int) -> SealedMessage:
    return stage.sealed(spec, client, _ZERO, load_signing_key(stage.folder / "client-8", stage.deployment, 8))


def _own_clients(stage: Stage, spec: RoundSpec, client: int) -> SealedMessage:
    return stage.sealed(spec, client, _ZERO)


def _changed(change: Callable[[list[SealedMessage]], None]) -> Callable[[Path], Outcome]:
    """Whoever relays messages changes some; won if the sum is not that of untouched ones."""

    def run(folder: Path) -> Outcome:
        with Stage(folder) as stage:
            spec = stage.spec()
            messages = stage.all_sealed(spec, range(6))
            change(messages)
            found = stage.opened(spec, messages)
            wrong = found is not None and not np.array_equal(found[0], sum(vector_of(one) for one in found[1]))
            return Outcome(wrong, "a sum that is not its clients'" if wrong else NOTHING, stage.said)

    return run


def _swap_parties(messages: list[SealedMessage]) -> None:
    messages[VICTIM] = replace(messages[VICTIM], parts=messages[VICTIM].parts[::-1])


def _swap_clients(messages: list[SealedMessage]) -> None:
    messages[0] = replace(messages[0], parts=(messages[0].parts[0], messages[1].parts[1]))
    del messages[1]


def _flip_bit(messages: list[SealedMessage]) -> None:
    body = bytearray(messages[VICTIM].parts[0])
    body[-20] ^= 1
    messages[VICTIM] = replace(messages[VICTIM], parts=(bytes(body), messages[VICTIM].parts[1]))


def _flip_name(messages: list[SealedMessage]) -> None:
    """Another client's number in a header, signature and all else as they were."""
    parts = []
    for part in messages[VICTIM].parts:
        header, values = envelope_header.read_header(memoryview(part))
        values[5] = [[7, 8]]
        renamed = encode(values)
        start = envelope_header.PREFIX.size
        parts.append(envelope_header.prefix_of(renamed) + renamed + part[start + len(header) :])
    messages[VICTIM] = replace(messages[VICTIM], parts=tuple(parts))


def _terms(told: dict[str, Any], asked: dict[str, Any], judge: Callable[[Any, Any], tuple[bool, str]]) -> Any:
    """Clients are told one round and parties another."""

    def run(folder: Path) -> Outcome:
        with Stage(folder) as stage:
            name = stage.new_run()
            spec, theirs = stage.spec(name, **told), stage.spec(name, **asked)
            found = stage.total(spec, stage.all_sealed(theirs, range(5)))
            won, gained = (False, "") if found is None else judge(found, sum(vector_of(one) for one in range(5)))
            return _stolen(stage, found, won, gained)

    return run


_NOISE = RoundNoise("skellam", 2**20)


def _without_noise(found: Any, true: Any) -> tuple[bool, str]:
    return bool(np.array_equal(found, true)), "the sum without the noise that clients were promised"


def _twice(folder: Path) -> Outcome:
    with Stage(folder) as stage:
        spec = stage.spec()
        found = stage.total(spec, [*stage.all_sealed(spec, range(4)), stage.sealed(spec, 3)])
        won = found is not None and np.array_equal(found, sum(map(vector_of, range(4))) + vector_of(3))
        return _stolen(stage, found, won, "a client that weighs twice")


def _oversize(checked: bool) -> Callable[[Path], Outcome]:
    def run(folder: Path) -> Outcome:
        with Stage(folder, dealer=checked) as stage:
            spec = stage.spec(norm_bound=_BOUND if checked else 0)
            small = np.arange(LENGTH)
            huge = np.full(LENGTH, 10**9)
            messages = [*(stage.sealed(spec, client, small) for client in range(3)), stage.sealed(spec, 3, huge)]
            found = stage.total(spec, messages)
            won = found is not None and bool(abs(found).max() > 10**8)
            return _stolen(stage, found, won, f"a sum that one client decides, by {10**9:,} a coordinate")

    return run


def _wrong_length(folder: Path) -> Outcome:
    with Stage(folder) as stage:
        name = stage.new_run()
        spec = stage.spec(name)
        longer = np.ones(LENGTH + 1, dtype=np.int64)
        odd = stage.sealed(stage.spec(name, length=LENGTH + 1), 3, longer)
        found = stage.opened(spec, [*stage.all_sealed(spec, range(3)), odd])
        won = found is None or 3 in found[1]
        return Outcome(won, "a round that is lost" if won else NOTHING, stage.said)


def _lying_party(folder: Path) -> Outcome:
    """Party 1 adds what it likes to its share before the opening."""

    def lying(joined: mesh.Mesh, share: Any) -> Any:
        if joined.rank == 1:
            add_wrap(share, np.full(len(share), 10**6, dtype=np.int64))
        return open_sum(joined, share)

    # The party's own program, which is whatever it likes.
    with unittest.mock.patch.object(state, "open_sum", lying), Stage(folder) as stage:
        spec = stage.spec()
        found = stage.total(spec, stage.all_sealed(spec, range(4)))
        won = found is not None and np.array_equal(found, sum(map(vector_of, range(4))) + 10**6)
        return _stolen(stage, found, won, "a sum shifted by what it likes, with equal digests at all parties")


class _AnyKey:
    """A verifier that takes every signature."""

    def verify(self, signature: bytes, data: bytes) -> None:
        """Nothing to say."""


_SIGNATURE = Check("the check of signatures", ((envelopes, "_sender", lambda clients, enrolment: _AnyKey()),))
_ADMITTED = Check(
    "the count of who has sent",
    ((RoundState, "admit", lambda self, clients: self._received.update(clients)),),
)
_NORM = Check("the norm check's bit", ((state, "norm_within", lambda *_: True),))

ATTACKS = (
    Attack(
        "forged", _COORDINATOR, "makes up messages of zeros for all clients but one, under a key of its own", "party",
        r"whose signature is not that client's", _alone_among(_forged), _SIGNATURE,
    ),
    Attack(
        "borrowed-name", _CLIENT, "signs messages of zeros in other clients' names with its own enrolled key", "party",
        r"whose signature is not that client's", _alone_among(_signed_by_another), _SIGNATURE,
    ),
    Attack(
        "own-clients", _COORDINATOR, "has n_min clients of its own send zeros, beside one honest client",
        "nobody", "**More clients than `federation.colluders`**, with `noise.by: clients`: their noise is known to the "
        "others and counts for nothing", _alone_among(_own_clients), document="SECURITY.md",
    ),
    Attack(
        "parts-of-parties", _COORDINATOR, "gives each party the part that is sealed to the other", "party",
        r"a part for party 1 at party 0", _changed(_swap_parties),
    ),
    Attack(
        "parts-of-clients", _COORDINATOR, "gives the parties one message whose parts are of two clients",
        "party", r"client 0 did not reach party 1", _changed(_swap_clients),
    ),
    Attack(
        "bit", _COORDINATOR, "flips one bit of a sealed vector", "party",
        r"that was changed, sealed to another key, or packed in another way", _changed(_flip_bit),
    ),
    Attack(
        "renamed", _COORDINATOR, "writes another client's number into the header of a part", "party",
        r"whose signature is not that client's", _changed(_flip_name), replace(
            _SIGNATURE, then=r"that was changed, sealed to another key"
        ),
    ),
    Attack(
        "no-noise", _COORDINATOR, "promises clients noise of the parties, and tells the parties of none", "party",
        r"a part for other terms \(model, n_min, clients, noise", _terms({}, {"noise": _NOISE}, _without_noise), TERMS,
    ),
    Attack(
        "norm-check-off", _COORDINATOR, "tells clients of a norm check, and the parties of none", "party",
        r"a part for other terms", _terms({}, {"norm_bound": _BOUND}, lambda found, true: (True, "an unchecked sum")),
        TERMS,
    ),
    Attack(
        "lower-minimum", _COORDINATOR, "tells clients a higher n_min than the parties", "party",
        r"a part for other terms",
        _terms({}, {"n_min": 5}, lambda found, true: (True, "a sum of fewer than clients were promised")), TERMS,
    ),
    Attack(
        "scale", _COORDINATOR, "tells parties another scale than clients", "party",
        r"scale 1; this round's are of length 6, ring 2\^64, scale 1000",
        _terms({"scale": 1000}, {}, lambda found, true: (True, "a sum read on another grid")),
    ),
    Attack(
        "ring", _COORDINATOR, "tells parties a narrower ring than clients, in which sums wrap around", "party",
        r"ring 2\^64, scale 1; this round's are of length 6, ring 2\^16",
        _terms({"bits": 16}, {}, lambda found, true: (True, "a sum that wrapped around")),
    ),
    Attack(
        "twice", _CLIENT, "sends two messages for one round", "party", r"client 3 has already sent its message", _twice,
        _ADMITTED,
    ),
    Attack(
        "oversize", _CLIENT, "sends a vector of a million times the norm, with aggregation.norm_check", "party",
        r"client 3 sent a vector of norm above 1000 grid steps", _oversize(True), _NORM,
    ),
    Attack(
        "oversize-unchecked", _CLIENT, "the same without the norm check", "nobody", "One can spoil or poison a model",
        _oversize(False), document="SECURITY.md",
    ),
    Attack(
        "length", _CLIENT, "sends a vector of another length", "party",
        r"a part of length 7, ring 2\^64, scale 1; this round's are of length 6", _wrong_length,
    ),
    Attack(
        "wrong-share", "party", "adds what it likes to its share before the opening", "nobody",
        "Nothing proves that a revealed share is right", _lying_party, document="SECURITY.md",
    ),
)  # fmt: skip
