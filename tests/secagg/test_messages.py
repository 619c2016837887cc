"""What crosses between the parts is checked where it is made, in sentences that do not repeat its content."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from secagg.errors import AggregationError
from secagg.messages import ClientMessage, RoundSpec
from secagg.sharing import Shares

VECTOR = np.arange(3, dtype=np.int64)


def message(body=VECTOR, seeds=(), clients=(0,), round_=1, attempt=0):
    return ClientMessage("run", round_, attempt, clients, Shares(body, seeds))


@pytest.mark.parametrize(
    "body",
    [VECTOR.astype(np.float64), VECTOR.astype(np.uint64), VECTOR.astype(">i8"), np.zeros((3, 2), np.int64), [1, 2]],
)
def test_a_body_that_is_no_vector_of_ring_elements_is_refused(body):
    with pytest.raises(AggregationError, match="allowed: a one-dimensional int64 vector"):
        message(body)


@pytest.mark.parametrize("seed", [b"", b"x" * 31, b"x" * 33, "x" * 32])
def test_a_seed_of_another_size_is_refused_without_printing_it(seed):
    with pytest.raises(AggregationError, match="32 bytes") as caught:
        message(seeds=(b"y" * 32, seed))
    assert "x" not in str(caught.value)


@pytest.mark.parametrize("client", [-1, 2**63, 1.0, "1", None])
def test_ids_that_are_none_are_refused(client):
    with pytest.raises(AggregationError, match="a client id is"):
        message(clients=(client,))
    with pytest.raises(AggregationError, match="a client id is"):
        RoundSpec("run", 1, 0, [0, client], 3, 1)


def test_ids_of_numpy_become_plain_ones_that_json_can_carry():
    made = message(clients=tuple(np.arange(3)), round_=np.int64(4))
    assert [type(number) for number in (*made.clients, made.round)] == [int] * 4


def test_a_rounds_numbers_become_plain_ones_and_no_fractions():
    made = RoundSpec("run", np.int64(1), 0, range(4), np.int64(3), np.int64(2), bits=np.int64(31))
    assert [type(number) for number in (made.round, made.length, made.n_min, made.bits)] == [int] * 4
    for wrong in ({"length": 3.5}, {"n_min": 1.5}, {"bits": 31.0}, {"length": "3"}):
        with pytest.raises(AggregationError, match="allowed: whole numbers"):
            RoundSpec(**{"run": "run", "round": 1, "attempt": 0, "clients": range(4), "length": 3, "n_min": 2, **wrong})


@pytest.mark.parametrize("numbers", [{"round_": -1}, {"round_": 1.5}, {"attempt": -1}])
def test_rounds_and_attempts_are_whole_and_not_negative(numbers):
    with pytest.raises(AggregationError, match="allowed"):
        message(**numbers)


def test_a_client_listed_twice_does_not_count_twice_toward_the_minimum():
    with pytest.raises(AggregationError, match="n_min is 3; allowed: 1 to the 2 clients"):
        RoundSpec("run", 1, 0, [5, 5, 7], 3, 3)


@pytest.mark.parametrize("clients", [range(-2, 3), range(0), frozenset()])
def test_rounds_without_clients_or_with_negative_ones_are_refused(clients):
    with pytest.raises(AggregationError, match="allowed"):
        RoundSpec("run", 1, 0, clients, 3, 1)


def test_a_range_of_clients_stays_a_range():
    assert RoundSpec("run", 1, 0, range(10_000), 3, 1).clients == range(10_000)


def test_messages_cannot_be_changed_and_do_not_print_their_shares():
    made = message(np.array([123456789], dtype=np.int64), (b"s" * 32,))
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.round = 2
    assert "123456789" not in repr(made)
    assert "ssss" not in repr(made)
