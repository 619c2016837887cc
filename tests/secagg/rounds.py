"""Rounds of a few clients at any aggregator, each test's in a run of its own: no round of a run is opened twice."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np

from secagg import ClientMessage, RoundSpec
from secagg.randomness import Keystream
from secagg.sharing import split

SOURCE = Keystream.system()
NUMBERS = itertools.count()
RUN = {"id": ""}


def new_run():
    RUN["id"] = f"run-{next(NUMBERS)}"


def spec(clients=range(4), length=3, n_min=2, round_=1, attempt=0):
    return RoundSpec(RUN["id"], round_, attempt, clients, length, n_min)


def message(aggregator, client, vector, of=None):
    of = of or spec(length=len(vector))
    clients = client if isinstance(client, tuple) else (client,)
    shares = split(np.asarray(vector, dtype=np.int64), aggregator.parties, SOURCE, of.bits)
    return ClientMessage(of.run, of.round, of.attempt, clients, shares)


def opened(aggregator, vectors, of, hook=None):
    of = dataclasses.replace(of, attempt=next(NUMBERS))
    aggregator.open_round(of)
    for client, vector in vectors.items():
        aggregator.submit(message(aggregator, client, vector, of))
    return aggregator.close(hook)
