"""Plaintext and SMPC refuse the same things and open the same bits; nothing is opened that must not be."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from secagg import ClientMessage, PlaintextAggregator, SmpcAggregator
from secagg.errors import AggregationError
from secagg.messages import RoundNoise
from secagg.openings import OpeningRefused
from secagg.randomness import Keystream
from secagg.round_state import BelowMinimum, MessageRefused
from secagg.sharing import Shares
from secagg.xnoise import component_stds, draw_components, surplus
from tests.secagg.rounds import NUMBERS, RUN, message, new_run, opened, spec


@pytest.fixture(autouse=True)
def _own_run():
    new_run()


@pytest.fixture(scope="module")
def smpc():
    with SmpcAggregator(3, timeout_s=20) as aggregator:
        yield aggregator


@pytest.fixture(params=["plaintext", "smpc"])
def aggregator(request):
    if request.param == "plaintext":
        return PlaintextAggregator()
    return request.getfixturevalue("smpc")


vectors = st.dictionaries(
    st.integers(0, 5),
    hnp.arrays(np.int64, 7, elements=st.integers(-(2**63), 2**63 - 1)),
    min_size=1,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(vectors=vectors)
def test_smpc_and_plaintext_open_bit_identical_sums_that_equal_the_sum_in_the_ring(smpc, vectors):
    of = spec(range(6), 7, 1)
    secure = opened(smpc, vectors, of)
    plain = opened(PlaintextAggregator(), vectors, of)
    assert secure.total.dtype == plain.total.dtype == np.int64
    assert secure.total.tobytes() == plain.total.tobytes()
    assert secure.clients == plain.clients == frozenset(vectors)
    for index in range(7):
        exact = sum(int(v[index]) for v in vectors.values())
        assert (exact - int(secure.total[index])) % 2**64 == 0


def test_messages_that_do_not_belong_are_refused_and_change_nothing(aggregator):
    of = spec()
    aggregator.open_round(of)
    aggregator.submit(message(aggregator, 0, [1, 2, 3]))
    bad = [
        (message(aggregator, 0, [9, 9, 9]), "already sent"),
        (message(aggregator, 7, [9, 9, 9]), "client 7 is not part"),
        (message(aggregator, 1, [9, 9]), "length 2"),
        (message(aggregator, 1, [9, 9, 9], spec(round_=2)), "for round 2"),
        (message(aggregator, 1, [9, 9, 9], spec(attempt=1)), "attempt 1"),
        (message(aggregator, (1, 1), [9, 9, 9]), "twice"),
        (message(aggregator, (), [9, 9, 9]), "no client"),
        (message(aggregator, 1, [9, 9, 9], dataclasses.replace(of, bits=31)), r"ring of 2\^31; this round's is 2\^64"),
        (ClientMessage(RUN["id"], 1, 0, (1,), Shares(np.zeros(3, np.int64), (b"x" * 32,))), "seeds"),
    ]
    for wrong, says in bad:
        with pytest.raises(MessageRefused, match=says):
            aggregator.submit(wrong)
    aggregator.submit(message(aggregator, 2, [10, 20, 30]))
    result = aggregator.close()
    assert result.total.tolist() == [11, 22, 33]
    assert result.clients == {0, 2}


def test_below_the_minimum_nothing_is_opened_and_the_hook_is_not_called(aggregator):
    called = []
    with pytest.raises(BelowMinimum, match="1 clients are left, below n_min 2"):
        opened(aggregator, {0: [1, 2, 3]}, spec(), called.append)
    assert not called
    assert opened(aggregator, {0: [1, 2, 3], 1: [1, 1, 1]}, spec()).total.tolist() == [2, 3, 4]


def test_the_hook_runs_before_the_opening_with_the_agreed_clients_and_can_stop_it(aggregator):
    def stop(clients):
        assert clients == {1, 3}
        raise RuntimeError("the ledger is full")

    with pytest.raises(RuntimeError, match="ledger"):
        opened(aggregator, {1: [1, 2, 3], 3: [1, 2, 3]}, spec(), stop)
    with pytest.raises(AggregationError, match="no round is open"):
        aggregator.close()
    assert opened(aggregator, {0: [5, 5, 5], 1: [1, 1, 1]}, spec()).total.tolist() == [6, 6, 6]


def test_a_new_round_forgets_the_one_before(aggregator):
    aggregator.open_round(spec())
    aggregator.submit(message(aggregator, 0, [100, 100, 100]))
    assert opened(aggregator, {0: [1, 1, 1], 1: [1, 1, 1]}, spec(attempt=1)).total.tolist() == [2, 2, 2]


def test_a_round_is_opened_once_whoever_is_in_it(aggregator):
    of = spec()
    aggregator.open_round(of)
    for client in (0, 1, 2):
        aggregator.submit(message(aggregator, client, [1, 1, 1], of))
    aggregator.close()
    with pytest.raises(AggregationError, match="was opened before; a sum is opened once"):
        aggregator.open_round(of)


def test_an_aborted_round_cannot_be_closed(aggregator):
    aggregator.open_round(spec())
    aggregator.abort()
    with pytest.raises(AggregationError, match="no round is open"):
        aggregator.submit(message(aggregator, 0, [1, 1, 1]))


def test_a_joint_message_counts_all_of_its_clients(aggregator):
    of = spec(range(1000), 3, 900)
    result = opened(aggregator, {tuple(range(950)): [7, 8, 9]}, of)
    assert result.total.tolist() == [7, 8, 9]
    assert len(result.clients) == 950


def test_rounds_over_a_set_of_ids_work_like_ranges(aggregator):
    of = spec(frozenset({3, 17, 99}), 3, 2)
    assert opened(aggregator, {17: [1, 2, 3], 99: [1, 2, 3]}, of).clients == {17, 99}


@pytest.mark.parametrize("wrong", [{"n_min": 0}, {"n_min": 5}, {"length": 0}, {"length": 2**29}])
def test_impossible_rounds_are_refused(wrong):
    with pytest.raises(AggregationError, match="allowed"):
        spec(**wrong)


@pytest.mark.parametrize("bits", [2, 8, 31, 63])
def test_narrow_rings_open_the_sum_modulo_their_size(aggregator, bits):
    of = dataclasses.replace(spec(), bits=bits)
    half = 2 ** (bits - 1)
    found = opened(aggregator, {0: [1, -1, half - 1], 1: [0, -half + 1, 1]}, of).total.tolist()
    assert found == [1, -half, -half]


def test_openings_of_one_model_are_over_equal_sets_or_differ_by_many(aggregator):
    of = dataclasses.replace(spec(range(8), n_min=3), model="aa")
    ones = {client: [1, 1, 1] for client in range(8)}
    assert len(opened(aggregator, {c: ones[c] for c in range(5)}, of).clients) == 5
    assert len(opened(aggregator, {c: ones[c] for c in range(5)}, of).clients) == 5
    told = []
    with pytest.raises(OpeningRefused, match="differ by 1 .* at least 3"):
        opened(aggregator, {c: ones[c] for c in range(6)}, of, told.append)
    assert not told
    assert len(opened(aggregator, ones, of).clients) == 8
    assert len(opened(aggregator, {c: ones[c] for c in range(6)}, dataclasses.replace(of, model="bb")).clients) == 6


@pytest.mark.parametrize("mechanism", ["discrete_gaussian", "skellam"])
@pytest.mark.parametrize("dropped", [0, 1, 2])
def test_exactly_the_surplus_noise_of_the_survivors_is_removed(aggregator, mechanism, dropped):
    stds = component_stds(20.0, 6, 2, True)
    of = dataclasses.replace(spec(range(6), 50, 4, attempt=next(NUMBERS)), noise=RoundNoise(mechanism, 0.0, stds))
    aggregator.open_round(of)
    wanted = np.zeros(50, dtype=np.int64)
    for client in range(6 - dropped):
        noise, seeds = draw_components(mechanism, stds, 50, Keystream.system())
        wanted += noise - surplus(mechanism, stds, dropped, seeds[dropped:], 50)
        whole = message(aggregator, client, noise, of)
        aggregator.submit(dataclasses.replace(whole, noise_seeds=seeds))
    result = aggregator.close()
    assert len(result.clients) == 6 - dropped
    assert result.total.tolist() == wanted.tolist()


def test_messages_without_the_rounds_noise_seeds_are_refused(aggregator):
    of = dataclasses.replace(spec(), noise=RoundNoise("skellam", 0.0, component_stds(20.0, 4, 2, True)))
    aggregator.open_round(of)
    with pytest.raises(MessageRefused, match="noise seeds"):
        aggregator.submit(message(aggregator, 0, [1, 2, 3], of))


def test_plaintext_aggregation_refuses_what_needs_parties():
    for of in (
        dataclasses.replace(spec(), noise=RoundNoise("discrete_gaussian", 100.0)),
        dataclasses.replace(spec(), norm_bound=5),
    ):
        with pytest.raises(AggregationError, match="no parties"):
            PlaintextAggregator().open_round(of)
