"""One round of aggregation, from clients' vectors to the opened sum: SMPC with three parties against plaintext."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from secagg import ClientMessage, PlaintextAggregator, RoundSpec, SmpcAggregator
from secagg.randomness import Keystream
from secagg.sharing import split

NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def smpc():
    with SmpcAggregator(3) as aggregator:
        yield aggregator


@pytest.mark.parametrize(("clients", "length"), [(100, 6_560), (10_000, 2_000), (16, 1_126_400)])
@pytest.mark.parametrize("backend", ["plaintext", "smpc"])
def test_round(benchmark, smpc, backend, clients, length):
    aggregator = smpc if backend == "smpc" else PlaintextAggregator()
    source = Keystream.system()
    vector = source.words(length).view(np.int64)
    benchmark.group = f"{clients} clients, {length} coordinates"

    def one_round():
        spec = RoundSpec("bench", 1, next(NUMBERS), range(clients), length, clients)
        aggregator.open_round(spec)
        for client in range(clients):
            shares = split(vector, aggregator.parties, source)
            aggregator.submit(ClientMessage(spec.run, 1, spec.attempt, (client,), shares))
        return aggregator.close()

    benchmark.pedantic(one_round, rounds=3, warmup_rounds=1)
