"""Vectors up to the bound pass, all others fail however they wrap around, and only the bit is opened."""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from secagg.errors import AggregationError
from secagg.party.dealer_provider import DealerClient
from secagg.party.mesh import MeshBroken
from secagg.party.norm_check import MAX_NORM_BOUND, dense_projections, norm_within, order_of, sketches
from secagg.randomness import Keystream
from secagg.sharing import expand, split
from tests.secagg.party.joined import TIMEOUT_S, channel_pair, meshes, together

SOURCE = Keystream.system()
REACH = 17


def shares_of(vector, parties):
    shared = split(np.asarray(vector, dtype=np.int64), parties, SOURCE)
    return [shared.body, *(expand(seed, len(shared.body)) for seed in shared.seeds)]


def checked(vectors, bound, parties=2):
    """The bits of one check after another, the same at every party."""
    shared = [shares_of(vector, parties) for vector in vectors]

    def work(mesh, dealer):
        return [norm_within(mesh, dealer, shares[mesh.rank], bound, b"%d" % i) for i, shares in enumerate(shared)]

    results, dealt = together(parties, work, timeout_s=20.0)
    assert dealt == len(vectors)
    assert all(bits == results[0] for bits in results)
    return results[0]


def vector(*entries, length=40):
    found = np.zeros(length, dtype=np.int64)
    found[: len(entries)] = entries
    return found


@pytest.mark.parametrize("parties", [2, 3])
@pytest.mark.parametrize("bound", [1, 1000, MAX_NORM_BOUND])
def test_exactly_the_bound_passes_and_one_more_under_the_root_does_not(bound, parties):
    exact = [vector(bound), vector(-bound), vector()]
    beyond = [vector(bound, 1), vector(-1, -bound), vector(bound + 1)]
    assert checked(exact + beyond, bound, parties) == [True] * 3 + [False] * 3


def test_five_parties_agree():
    assert checked([vector(3, 4), vector(3, 4, 1)], 5, parties=5) == [True, False]


@pytest.mark.parametrize("length", [1, 7, 8, 9, 2**15 - 1, 2**15 + 1])
def test_every_length(length):
    full = np.zeros(length, dtype=np.int64)
    full[-1] = -9
    beyond = full.copy()
    beyond[0] -= 1
    assert checked([full, beyond], 9) == [True, False]


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(-50, 50), min_size=1, max_size=30), st.integers(1, 200))
def test_the_bit_is_that_of_plain_arithmetic(entries, bound):
    assert checked([entries], bound) == [sum(x * x for x in entries) <= bound * bound]


def four_squares_of_2_64():
    """Entries whose squares sum to 2^64 exactly, small ones among them: no 2-adic accident."""
    rest = 2**64 - (2**32 - 1) ** 2
    entries = [2**32 - 1]
    while rest:
        entries.append(math.isqrt(rest))
        rest -= entries[-1] ** 2
    return entries


WRAPPING = {
    "one 2^32": vector(2**32),
    "many 2^32": np.full(1000, 2**32),
    "one -2^63": vector(-(2**63)),
    "two -2^63": vector(-(2**63), -(2**63)),
    "2^63 everywhere": np.full(20_001, -(2**63)),
    "2^62 everywhere": np.full(4096, 2**62),
    "greatest": vector(2**63 - 1),
    "squares that sum to 2^64": vector(*four_squares_of_2_64()),
    "2^64 in small entries": np.full(2**16, 2**24),
    "2^64 and one": np.append(np.full(2**16, 2**24), 1),
    "negative as a square": vector(2**31, 2**31, 2**31),
    "just beyond 2^63": vector(3_037_000_500),
}


@pytest.mark.parametrize("name", WRAPPING)
def test_what_wraps_around_to_a_small_square_is_refused(name):
    assert checked([WRAPPING[name]], 2**10) == [False]
    square = sum(int(x) ** 2 for x in WRAPPING[name])
    assert square > 2**20


def test_most_of_those_would_pass_a_check_of_the_square_alone():
    passing = [name for name, x in WRAPPING.items() if sum(int(a) ** 2 for a in x) % 2**64 <= 2**20]
    assert len(passing) >= 8


def test_honest_vectors_of_the_full_norm_are_all_accepted():
    rng = np.random.default_rng(3)
    vectors = []
    for spread in (1, 10, 3000):
        direction = rng.standard_normal(3000) * (np.arange(3000) < spread)
        vectors += [np.trunc(2**20 * direction / np.linalg.norm(direction)).astype(np.int64)] * 5
    assert all(checked(vectors, 2**20))


# The parts of the proof, each at a size where it can be seen to fail if it is wrong.


def signed_sum(matrix, x):
    """`matrix @ x` in Python's integers, as ring elements."""
    return [(sum(int(a) * int(b) for a, b in zip(row, x, strict=True)) + 2**63) % 2**64 - 2**63 for row in matrix]


def matrix_of(linear, length):
    columns = []
    for index in range(length):
        unit = torch.zeros(length, dtype=torch.int64)
        unit[index] = 1
        columns.append(linear(unit).numpy())
    return np.stack(columns, axis=1)


def test_sketches_are_linear_and_put_every_coordinate_once_with_a_sign():
    coin, length = os.urandom(32), 400
    matrix = matrix_of(lambda x: sketches(x, coin, 4, 64), length)
    per_sketch = matrix.reshape(4, 64, length)
    np.testing.assert_array_equal(np.abs(per_sketch).sum(axis=1), np.ones((4, length)))
    assert stats.chisquare(np.abs(per_sketch).sum(axis=(0, 2))).pvalue > 1e-6
    assert abs(per_sketch.sum()) < 6 * math.sqrt(4 * length)
    x = SOURCE.words(length).view(np.int64)
    np.testing.assert_array_equal(sketches(torch.from_numpy(x), coin, 4, 64), signed_sum(matrix, x))


def test_sketches_of_a_coin_are_independent():
    coin = os.urandom(32)
    where = matrix_of(lambda x: sketches(x, coin, 2, 2), 1000).reshape(2, 2, 1000)
    signs, buckets = where.sum(axis=1), np.abs(where).argmax(axis=1)
    joint = np.bincount(buckets[0] * 8 + buckets[1] * 4 + (signs[0] > 0) * 2 + (signs[1] > 0), minlength=16)
    assert stats.chisquare(joint).pvalue > 1e-6


def test_sketches_do_not_depend_on_the_pieces_they_are_made_in():
    coin, length = os.urandom(32), 2**15 + 40
    x = torch.from_numpy(SOURCE.words(length).view(np.int64))
    alone = torch.zeros(length, dtype=torch.int64)
    alone[2**15 :] = x[2**15 :]
    rest = x - alone
    assert torch.equal(sketches(alone, coin, 4, 128) + sketches(rest, coin, 4, 128), sketches(x, coin, 4, 128))
    assert len(sketches(alone, coin, 4, 128).nonzero()) > 100


def test_dense_projections_are_linear_with_the_entries_of_the_proof():
    coin, count, length = os.urandom(32), 40, 320
    matrix = matrix_of(lambda x: dense_projections(x, coin, count), length)
    shares = [np.mean(matrix == value) for value in (-1, 0, 1)]
    assert np.allclose(shares, [0.25, 0.5, 0.25], atol=6 * 0.5 / math.sqrt(count * length))
    assert np.mean(matrix != 0, axis=0).std() < 0.15
    x = SOURCE.words(length).view(np.int64)
    np.testing.assert_array_equal(dense_projections(torch.from_numpy(x), coin, count), signed_sum(matrix, x))


def test_dense_projections_need_whole_words():
    with pytest.raises(ValueError, match="multiples of 32"):
        dense_projections(torch.zeros(33, dtype=torch.int64), bytes(32), 4)


@pytest.mark.parametrize("top", [-(2**63), 2**62, 2**40, 35])
def test_a_projection_passes_an_entry_beyond_twice_the_reach_at_most_half_the_time(top):
    y = torch.zeros(32, dtype=torch.int64)
    y[5], y[6], y[7] = top, -3, 2**63 - 1 if top == -(2**63) else 1
    z = torch.cat([dense_projections(y, os.urandom(32), 1000) for _ in range(4)])
    assert float(((z >= -17) & (z <= 17)).double().mean()) < 0.5 + 6 * 0.5 / math.sqrt(4000)


@pytest.mark.parametrize("support", [11, 50, 4096])
def test_a_projection_passes_a_long_vector_less_often_than_paley_and_zygmund_say(support):
    y = torch.zeros(4096, dtype=torch.int64)
    y[:support] = 1000
    reach = 1000 * math.sqrt(support / 10)
    z = torch.cat([dense_projections(y, os.urandom(32), 400) for _ in range(5)])
    assert float((z.abs() <= reach).double().mean()) < 1 - 0.8**2 / 3 + 6 * 0.5 / math.sqrt(2000)


@pytest.mark.parametrize("count", [2, 3, 4, 7])
def test_a_sketch_loses_huge_entries_at_most_once_in_as_many_times_as_there_are_buckets(count):
    x, buckets, trials = torch.full((count,), -(2**63), dtype=torch.int64), 8, 4000
    lost = sum(not sketches(x, os.urandom(32), 1, buckets).any() for _ in range(trials))
    assert lost / trials < 1 / buckets + 6 * math.sqrt(1 / buckets / trials)


def test_a_sketch_keeps_the_square_norm_with_the_variance_of_the_proof():
    rng = np.random.default_rng(5)
    x, buckets = torch.from_numpy(rng.integers(-1000, 1000, 500)), 64
    plain = float((x * x).sum())
    ratios = np.array([float((sketches(x, os.urandom(32), 1, buckets) ** 2).sum()) / plain for _ in range(2000)])
    assert abs(ratios.mean() - 1) < 6 * math.sqrt(2 / buckets / 2000)
    assert ratios.var() < 1.25 * 2 / buckets


def test_honest_projections_stay_below_hoeffdings_tail():
    for x in (torch.full((256,), 1000), torch.arange(256), torch.eye(256, dtype=torch.int64)[3] * 16000):
        norm = math.sqrt(float((x * x).sum()))
        z = torch.cat(
            [dense_projections(sketches(x, coin, 4, 32), coin, 500) for coin in (os.urandom(32) for _ in range(20))]
        )
        for level in (2.0, 3.0, 4.0, 6.0):
            seen = float((z.abs() > level * norm).double().mean())
            assert seen <= 2 * math.exp(-(level**2) / 8)
        assert abs(z).max() < REACH * norm


def test_the_error_bounds_that_are_stated_hold():
    reach_2 = REACH**2
    assert 256 * math.exp(-reach_2 / 8) < 2**-44
    dense, thin = (1 - 0.8**2 / 3) ** 128, (2 / 2**13 / (3 / 4) ** 2) ** 4
    assert dense + max(thin, (2**-13) ** 4) < 2**-43
    assert 4 * 10 * reach_2 * MAX_NORM_BOUND**2 < 2**62
    assert 2**28 * 2 * math.sqrt(10 * reach_2) * MAX_NORM_BOUND < 2**63


# What a party sees.


def received_by_the_last(x, parties=2, repeats=1):
    """Payloads of all frames that the last party gets from party 0, of checks of `x`, by check."""
    seen = []

    def work(mesh, dealer):
        if mesh.rank == parties - 1:
            receive, frames = mesh.receive, []
            mesh.receive = lambda rank, kind: kept(receive(rank, kind), rank, frames)
        shares, bits = shared[mesh.rank], []
        for _ in range(repeats):
            bits.append(norm_within(mesh, dealer, shares, 5))
            if mesh.rank == parties - 1:
                seen.append(list(frames))
                frames.clear()
        return bits

    def kept(frame, rank, frames):
        if rank == 0:
            frames.append(frame)
        return frame

    shared = shares_of(x, parties)
    together(parties, work)
    return [[bytes(frame.payload) for frame in frames if frame.kind == "tensor"] for frames in seen]


@pytest.mark.parametrize("parties", [2, 3])
@pytest.mark.parametrize("x", [np.zeros(20_000, dtype=np.int64), np.full(20_000, 2**40)], ids=["zero", "huge"])
def test_all_but_the_bit_is_uniform_to_a_party(x, parties):
    (payloads,) = received_by_the_last(x, parties)
    *masked, bit = payloads
    assert len(bit) == 8
    assert len(masked[0]) == 8 * len(x)
    # The difference x - a, the masked sign tests, and every AND, each by itself and all together.
    for part in (masked[0], masked[1], b"".join(masked[2:]), b"".join(masked)):
        assert stats.chisquare(np.bincount(np.frombuffer(part, np.uint8), minlength=256)).pvalue > 1e-6
    words = np.frombuffer(b"".join(masked), np.uint64)
    for position in range(64):
        ones = int((words >> np.uint64(position) & np.uint64(1)).sum())
        assert abs(ones - len(words) / 2) < 6 * math.sqrt(len(words)) / 2


def test_the_same_share_is_masked_anew_every_time():
    first, second = received_by_the_last(np.arange(500), repeats=2)
    for one, other in zip(first[:-1], second[:-1], strict=True):
        if len(one) > 8:
            assert one != other
    joined = np.frombuffer(first[0], np.int64) == np.frombuffer(second[0], np.int64)
    assert not joined.any()


def test_a_check_leaves_the_share_as_it_was():
    x, shared = np.arange(50), shares_of(np.arange(50), 2)
    before = [share.copy() for share in shared]
    together(2, lambda mesh, dealer: norm_within(mesh, dealer, shared[mesh.rank], 5))
    for share, old in zip(shared, before, strict=True):
        np.testing.assert_array_equal(share, old)
    np.testing.assert_array_equal(sum(shared), x)


# What goes wrong.


@pytest.mark.parametrize("bound", [0, -1, MAX_NORM_BOUND + 1, 2.0, True])
def test_a_bound_beyond_the_proof_is_refused(bound):
    mesh, dealer = meshes(2)[0], None
    with pytest.raises(AggregationError, match="allowed: 1 to 16777216"):
        norm_within(mesh, dealer, np.zeros(3, dtype=np.int64), bound)


@pytest.mark.parametrize("share", [np.zeros(3), np.zeros((3, 1), dtype=np.int64), np.zeros(0, dtype=np.int64)])
def test_a_share_that_is_no_vector_of_int64_is_refused(share):
    with pytest.raises(AggregationError, match="int64 vectors"):
        norm_within(meshes(2)[0], None, share, 5)


@pytest.mark.parametrize("change", [{"bound": 6}, {"label": b"another client"}])
def test_parties_at_different_checks_stop(change):
    def work(mesh, dealer):
        check = {"bound": 5, "label": b"a client"} | (change if mesh.rank else {})
        with pytest.raises(MeshBroken, match="at another norm check"):
            norm_within(mesh, dealer, np.zeros(9, dtype=np.int64), **check)

    together(2, work, broken=True)


def test_a_dealer_that_hangs_up_stops_the_check_before_anything_is_opened():
    (mesh, _other), (theirs, ours) = meshes(2), channel_pair()
    theirs.close()
    with pytest.raises(MeshBroken, match="the dealer"):
        norm_within(mesh, DealerClient(ours, 0, 2, TIMEOUT_S), np.zeros(9, dtype=np.int64), 5)
    assert mesh.sent == 0


def test_a_dealer_that_goes_while_parties_wait_for_it_stops_all_of_them():
    joined, ends = meshes(2), [channel_pair() for _ in range(2)]

    def party(rank):
        dealer = DealerClient(ends[rank][1], rank, 2, TIMEOUT_S)
        with pytest.raises(MeshBroken, match="the dealer: closed by the other end"):
            norm_within(joined[rank], dealer, np.zeros(9, dtype=np.int64), 5)

    with ThreadPoolExecutor(2) as pool:
        tasks = [pool.submit(party, rank) for rank in range(2)]
        for theirs, _ in ends:
            theirs.receive(TIMEOUT_S)
        for theirs, _ in ends:
            theirs.close()
        for task in tasks:
            task.result()


def test_a_party_that_is_gone_stops_the_check():
    def work(mesh, dealer):
        if mesh.rank:
            mesh.close()
            return
        with pytest.raises(MeshBroken, match="party 1"):
            norm_within(mesh, dealer, np.zeros(9, dtype=np.int64), 5)

    together(2, work, broken=True)


def test_an_order_covers_exactly_what_a_check_uses():
    def work(mesh, dealer):
        norm_within(mesh, dealer, np.zeros(9, dtype=np.int64), 5)
        with pytest.raises(RuntimeError, match="0 words are left"):
            dealer.generate_binary_triple((1,), (1,))

    together(2, work)
    assert order_of(9).length == 9
