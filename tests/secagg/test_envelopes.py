"""Each party opens exactly its own part of exactly this round; any change, anywhere, is refused."""

from __future__ import annotations

import dataclasses
from functools import lru_cache

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from secagg.deployment.keys import load_party_keys, load_signing_key
from secagg.deployment.new_deployment import create_deployment
from secagg.deployment.terms import Policy
from secagg.envelopes import open_part, part_bytes, seal, upload_bytes
from secagg.messages import ClientMessage, RoundNoise, RoundSpec
from secagg.packing import unpack
from secagg.randomness import Keystream
from secagg.round_state import MessageRefused
from secagg.sharing import combine, expand, split
from secagg.xor_shares import xor_join
from tests.secagg.party.in_threads import new_folder

SOURCE = Keystream.system()
SPEC = RoundSpec("run", 3, 1, range(10), 5, 4, 2**16, 31, "ab")
VECTOR = np.array([1, -2, 3, -(2**29), 2**29], dtype=np.int64)
CLIENT_KEYS = [Ed25519PrivateKey.generate() for _ in range(10)]


def made(parties=3, enrolment="cohort", name="", n_min=1):
    """Deployment, parties' sealing keys, and what client 2 signs with."""
    return _made(parties, enrolment, name, n_min)


@lru_cache
def _made(parties, enrolment, name, n_min):
    folder = new_folder() / "keys"
    roster = {i: key.public_key().public_bytes_raw() for i, key in enumerate(CLIENT_KEYS)}
    addresses = [("127.0.0.1", 1000 + rank) for rank in range(parties)]
    deployment = create_deployment(folder, addresses, Policy(n_min=n_min), roster if enrolment == "roster" else None)
    keys = [load_party_keys(folder / f"party-{rank}", deployment, rank).sealing for rank in range(parties)]
    signing = CLIENT_KEYS[2] if enrolment == "roster" else load_signing_key(folder / "cohort", deployment)
    return deployment, keys, signing


def message(spec, parties=3, clients=(2,), vector=VECTOR, seeds=()):
    shares = split(vector, parties, SOURCE, spec.bits)
    return ClientMessage(spec.run, spec.round, spec.attempt, clients, shares, seeds)


def sealed(spec=SPEC, parties=3, enrolment="cohort", **changes):
    deployment, _, signing = made(parties, enrolment)
    return seal(message(spec, parties, **changes), spec, deployment, signing)


def opened(part, party, spec=SPEC, parties=3, enrolment="cohort"):
    deployment, keys, _ = made(parties, enrolment)
    return open_part(part, spec, deployment, party, keys[party])


@pytest.mark.parametrize("enrolment", ["cohort", "roster"])
@pytest.mark.parametrize("parties", [2, 3, 5])
@pytest.mark.parametrize("bits", [2, 8, 31, 64])
def test_the_parties_parts_add_up_to_the_vector(parties, bits, enrolment):
    spec = dataclasses.replace(SPEC, bits=bits)
    whole = sealed(spec, parties, enrolment)
    parts = [opened(part, party, spec, parties, enrolment) for party, part in enumerate(whole.parts)]
    assert {part.clients for part in parts} == {(2,)}
    assert len({part.message for part in parts}) == 1
    shares = [unpack(parts[0].body, 5, bits), *(expand(part.key, 5, bits) for part in parts[1:])]
    half = 2 ** (bits - 1)
    assert combine(shares, bits).tolist() == [(int(v) + half) % 2**bits - half for v in VECTOR]
    assert all(
        len(part) == part_bytes(spec, made(parties, enrolment)[0], party, 2) for party, part in enumerate(whole.parts)
    )
    assert whole.size <= upload_bytes(spec, made(parties, enrolment)[0])


@pytest.mark.parametrize("enrolment", ["cohort", "roster"])
@pytest.mark.parametrize("party", [0, 1])
def test_a_flipped_bit_anywhere_is_refused(party, enrolment):
    part = sealed(enrolment=enrolment).parts[party]
    opened(part, party, enrolment=enrolment)
    for bit in range(8 * len(part)):
        changed = bytearray(part)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(MessageRefused):
            opened(bytes(changed), party, enrolment=enrolment)


@pytest.mark.parametrize("party", [0, 2])
def test_a_part_of_another_length_is_refused(party):
    part = sealed().parts[party]
    for length in range(len(part)):
        with pytest.raises(MessageRefused):
            opened(part[:length], party)
    for more in (b"\0", bytes(100)):
        with pytest.raises(MessageRefused):
            opened(part + more, party)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"run": "other"}, "of run 'run'"),
        ({"round": 4}, "for round 3 attempt 1"),
        ({"attempt": 2}, "for round 3 attempt 1"),
        ({"length": 6}, "of length 5"),
        ({"bits": 32}, "ring 2^31"),
        ({"scale": 2**17}, "scale 65536"),
        ({"model": "cd"}, "for other terms"),
        ({"model": ""}, "for other terms"),
        ({"n_min": 5}, "for other terms"),
        ({"clients": range(11)}, "for other terms"),
        ({"noise": RoundNoise("skellam", 8.0)}, "for other terms"),
        ({"bits": 64, "norm_bound": 7}, "ring 2^31"),
    ],
    ids=str,
)
def test_a_part_fits_no_other_round(change, says):
    for party, part in enumerate(sealed().parts):
        with pytest.raises(MessageRefused) as refusal:
            opened(part, party, dataclasses.replace(SPEC, **change))
        assert says in str(refusal.value)


def test_a_part_fits_no_other_norm_bound():
    spec = dataclasses.replace(SPEC, bits=64, norm_bound=7)
    part = sealed(spec).parts[1]
    opened(part, 1, spec)
    with pytest.raises(MessageRefused, match="for other terms"):
        opened(part, 1, dataclasses.replace(spec, norm_bound=8))


def test_a_part_is_for_one_party_alone():
    parts = sealed().parts
    for party, part in enumerate(parts):
        for other in range(3):
            if other != party:
                with pytest.raises(MessageRefused, match=f"a part for party {party} at party {other}"):
                    opened(part, other)


def test_other_keys_or_other_limits_are_another_deployment():
    part = sealed().parts[1]
    for name, n_min in (("again", 1), ("", 2)):
        deployment, keys, _ = made(3, "cohort", name, n_min)
        with pytest.raises(MessageRefused, match="for another deployment"):
            open_part(part, SPEC, deployment, 1, keys[1])


def test_nobody_signs_for_another_client():
    deployment, keys, _ = made(3, "roster")
    for signer, client, says in ((3, 2, "not that client's"), (2, 12, "client 12 is not enrolled")):
        parts = seal(message(SPEC, clients=(client,)), SPEC, deployment, CLIENT_KEYS[signer]).parts
        for party, part in enumerate(parts):
            with pytest.raises(MessageRefused, match=says):
                open_part(part, SPEC, deployment, party, keys[party])
    parts = seal(message(SPEC, clients=(2, 3)), SPEC, deployment, CLIENT_KEYS[2]).parts
    with pytest.raises(MessageRefused, match="only a simulated cohort may send one"):
        open_part(parts[1], SPEC, deployment, 1, keys[1])


def test_a_stranger_does_not_sign_for_the_cohort():
    deployment, keys, _ = made()
    part = seal(message(SPEC), SPEC, deployment, Ed25519PrivateKey.generate()).parts[1]
    with pytest.raises(MessageRefused, match="not that client's"):
        open_part(part, SPEC, deployment, 1, keys[1])


def test_no_two_messages_share_a_name_a_key_or_a_byte_of_ciphertext():
    one, two = sealed(), sealed()
    first, second = (opened(whole.parts[0], 0) for whole in (one, two))
    assert first.message != second.message
    assert first.key != second.key
    assert one.parts[0][-16:] != two.parts[0][-16:]


def test_noise_seeds_come_back_from_all_parties_and_from_fewer_not():
    spec = dataclasses.replace(SPEC, noise=RoundNoise("skellam", 0.0, (9.0, 8.0, 7.0)))
    seeds = (bytes(range(32)), bytes(32))
    parts = [opened(part, party, spec) for party, part in enumerate(sealed(spec, seeds=seeds).parts)]
    for index, seed in enumerate(seeds):
        shares = [part.noise_shares[index] for part in parts]
        assert xor_join(shares) == seed
        assert seed not in shares
        assert all(xor_join(shares[:k] + shares[k + 1 :]) != seed for k in range(3))
    for wrong in ((), seeds[:1], (*seeds, bytes(32))):
        with pytest.raises(MessageRefused, match="noise seeds"):
            sealed(spec, seeds=wrong)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (message(SPEC, parties=2), "with 1 seeds; 3 parties need 2"),
        (message(SPEC, vector=VECTOR[:4]), "of length 4"),
        (message(dataclasses.replace(SPEC, bits=32)), "in a ring of 2^32"),
    ],
)
def test_what_does_not_fit_the_round_is_not_sealed(wrong, says):
    deployment, _, signing = made()
    with pytest.raises(MessageRefused) as refusal:
        seal(wrong, SPEC, deployment, signing)
    assert says in str(refusal.value)


def test_a_body_that_is_packed_in_another_way_is_refused(monkeypatch):
    """By the sender himself: what is refused here must not fail later, in the middle of a sum."""
    import secagg.envelopes as envelopes

    packed = envelopes.pack(VECTOR, 31)
    monkeypatch.setattr(envelopes, "pack", lambda vector, bits: packed[:-1] + b"\xff")
    part = sealed().parts[0]
    with pytest.raises(MessageRefused, match="packed in another way"):
        opened(part, 0)


def test_memory_for_a_body_can_be_used_again():
    deployment, keys, _ = made()
    room = bytearray(len(opened(sealed().parts[0], 0).body))
    for vector in (VECTOR, -VECTOR):
        part = open_part(sealed(vector=vector).parts[0], SPEC, deployment, 0, keys[0], room)
        assert part.body is room


def test_an_upload_is_smaller_than_the_float32_vector():
    spec = dataclasses.replace(SPEC, length=10**6, clients=range(10_000))
    for parties in (2, 3, 5):
        assert 3.87e6 < upload_bytes(spec, made(parties)[0]) < 4e6
    assert upload_bytes(spec, None) == 3_875_000


def test_shares_do_not_print_themselves():
    whole = sealed()
    part = opened(whole.parts[1], 1)
    assert part.key.hex() not in repr(part)
    assert repr(part.key) not in repr(part)
    assert repr(whole.parts[1])[:40] not in repr(whole)
