"""What any K - 1 parties see of a client is uniform, whatever its vector is; and these tests can fail.

Every p-value is compared with 1e-9, so that all of them together give a false alarm less than once in a million runs.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from scipy import stats

from secagg.messages import RoundNoise
from secagg.packing import unpack
from secagg.party import mesh as mesh_module
from secagg.sharing import expand
from tests.secagg.party.in_threads import Parties
from tests.secagg.test_envelopes import SPEC, opened, sealed

LENGTH = 3000
RARE = 1e-9
VECTORS = {
    "zero": np.zeros(LENGTH, dtype=np.int64),
    "largest": np.full(LENGTH, 2**62, dtype=np.int64),
    "minus one": np.full(LENGTH, -1, dtype=np.int64),
    "alternating": np.tile(np.array([1, -1], dtype=np.int64), LENGTH // 2),
}


def uniform(values, bits):
    """Whether integers look uniform modulo 2^bits: lowest and highest bits, each bit, and neighbours."""
    values = np.asarray(values).astype(np.uint64) & np.uint64(2**bits - 1)
    width = min(bits, 6)
    low = values & np.uint64(2**width - 1)
    high = values >> np.uint64(bits - width)
    tests = [stats.chisquare(np.bincount(part.astype(np.int64), minlength=2**width)).pvalue for part in (low, high)]
    for bit in range(bits):
        ones = int(((values >> np.uint64(bit)) & np.uint64(1)).sum())
        tests.append(stats.binomtest(ones, len(values)).pvalue)
    real = high.astype(float) if bits < 54 else values.astype(float)
    tests.append(stats.pearsonr(real[1:], real[:-1]).pvalue if np.ptp(real) else 0.0)
    return min(tests) > RARE


def residue(parts, missing, bits, length=LENGTH):
    """Everything but party `missing` together: the vector minus that party's mask (or the masks, without the body)."""
    if missing == 0:
        return np.concatenate([expand(part.key, length, bits) for part in parts[1:]])
    known = [expand(part.key, length, bits) for rank, part in enumerate(parts) if rank not in (0, missing)]
    return unpack(parts[0].body, length, bits) + sum(known)


def parts_of(vector, parties, bits, seeds=()):
    components = (9.0,) * (len(seeds) + 1) if seeds else ()
    noise = RoundNoise("skellam", 0.0, components) if seeds else RoundNoise()
    spec = dataclasses.replace(SPEC, length=len(vector), bits=bits, noise=noise)
    whole = sealed(spec, parties, vector=vector, seeds=seeds)
    return [opened(part, rank, spec, parties) for rank, part in enumerate(whole.parts)]


@pytest.mark.parametrize("name", VECTORS)
@pytest.mark.parametrize("bits", [8, 31, 64])
@pytest.mark.parametrize("parties", [2, 3, 5])
def test_all_parties_but_one_see_uniform_numbers(parties, bits, name):
    parts = parts_of(VECTORS[name], parties, bits)
    for missing in range(parties):
        assert uniform(residue(parts, missing, bits), bits)
    raw = b"".join([part.key for part in parts] + [bytes(parts[0].body)])
    assert stats.chisquare(np.bincount(np.frombuffer(raw, np.uint8), minlength=256)).pvalue > RARE


@pytest.mark.parametrize("bits", [8, 31, 64])
def test_views_of_different_vectors_cannot_be_told_apart(bits):
    ones = np.uint64(2**bits - 1)
    for one, two in itertools.combinations(VECTORS.values(), 2):
        views = [residue(parts_of(vector, 3, bits), 1, bits).astype(np.uint64) & ones for vector in (one, two)]
        assert stats.ks_2samp(*(view.astype(float) for view in views)).pvalue > RARE
        tables = [np.bincount((view & np.uint64(63)).astype(np.int64), minlength=64) for view in views]
        assert stats.chi2_contingency(tables).pvalue > RARE


@pytest.mark.parametrize("coordinate", [0, LENGTH - 1])
def test_one_coordinate_is_uniform_over_many_messages(coordinate):
    vector = np.full(40, 5, dtype=np.int64)
    index = min(coordinate, 39)
    seen = [residue(parts_of(vector, 3, 16), 2, 16, 40)[index] for _ in range(600)]
    assert uniform(seen, 16)
    assert len(set(seen)) > 550


def test_two_messages_of_the_same_vector_have_nothing_in_common():
    views = [residue(parts_of(VECTORS["zero"], 3, 31), 1, 31) for _ in range(2)]
    assert uniform(views[0] - views[1], 31)


def test_noise_seeds_are_uniform_to_all_parties_but_one():
    shares = [parts_of(np.zeros(4, dtype=np.int64), 3, 31, (bytes(32),) * 20) for _ in range(20)]
    for missing in range(3):
        known = [rank for rank in range(3) if rank != missing]
        raw = [np.frombuffer(b"".join(parts[rank].noise_shares), np.uint8) for parts in shares for rank in known]
        assert stats.chisquare(np.bincount(np.concatenate(raw), minlength=256)).pvalue > RARE
        together = [
            np.bitwise_xor(*(np.frombuffer(b"".join(parts[rank].noise_shares), np.uint8) for rank in known))
            for parts in shares
        ]
        assert stats.chisquare(np.bincount(np.concatenate(together), minlength=256)).pvalue > RARE


def test_a_sharing_without_one_mask_is_found_out():
    assert not uniform(VECTORS["alternating"], 31)
    parts = parts_of(VECTORS["largest"], 3, 64)
    bare = unpack(parts[0].body, LENGTH, 64) + sum(expand(part.key, LENGTH, 64) for part in parts[1:])
    assert not uniform(bare, 64)


def test_a_mask_that_serves_twice_is_found_out():
    mask = expand(bytes(range(32)), LENGTH, 31)
    assert not uniform((VECTORS["zero"] - mask) - (VECTORS["alternating"] - mask), 31)


def test_a_narrow_mask_in_a_wide_ring_is_found_out():
    mask = expand(bytes(range(32)), LENGTH, 64) & (2**32 - 1)
    assert not uniform(VECTORS["zero"] - mask, 64)


@pytest.mark.parametrize("bits", [16, 31, 64])
def test_parties_show_each_other_names_and_digests_and_at_the_end_uniform_shares(tmp_path, monkeypatch, bits):
    sent = []
    honest = mesh_module.Mesh.send

    def send(self, rank, kind, facts, *payload):
        sent.append((self.rank, kind, facts, b"".join(bytes(piece) for piece in payload)))
        return honest(self, rank, kind, facts, *payload)

    monkeypatch.setattr(mesh_module.Mesh, "send", send)
    parties = Parties(3, tmp_path)
    spec = parties.spec(length=LENGTH, bits=bits)
    parties.open(spec)
    parties.batch([parties.sealed(spec, client, np.full(LENGTH, 100)) for client in range(4)])
    parties.close()
    for _, kind, facts, payload in sent:
        assert payload == b""
        assert (kind, set(facts)) in [
            ("have", {"index", "held"}),
            ("settle", {"index", "everywhere"}),
            ("agree", {"clients"}),
        ]
        assert all(len(name) < 40 for name in [*facts.get("held", ()), *facts.get("everywhere", ())])
    sent.clear()
    total = np.array(parties.total())
    assert total.tolist() == [400] * LENGTH
    shares = {rank: np.frombuffer(payload, np.int64) for rank, kind, _, payload in sent if kind == "tensor"}
    assert set(shares) == {0, 1, 2}
    for rank, share in shares.items():
        assert uniform(share, bits)
        others = sum(shares[other] for other in shares if other != rank)
        # What an honest party shows is what the sum and the others' shares already say.
        assert np.array_equal((total - others - share) & np.int64(2**bits - 1 if bits < 64 else -1), np.zeros(LENGTH))
        assert uniform(others, bits)
    parties.end()
