"""What crosses between clients, aggregators and server in one round, as frozen data."""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from secagg.errors import AggregationError
from secagg.randomness import KEY_BYTES
from secagg.sharing import Shares

__all__ = ["MAX_LENGTH", "ClientMessage", "RoundSpec", "RoundSum"]

MAX_LENGTH = 2**28  # coordinates of one message (2 GiB); what is longer is a mistake or an attack


@dataclass(frozen=True)
class RoundSpec:
    """One round that is open for messages.

    Raises `AggregationError` for an impossible round. Ids that are not a range become a frozenset.

    Attributes:
        run: run id.
        round: 1, 2, ...
        attempt: 0 for the first try of this round, then 1, 2, ...
        clients: ids that may take part.
        length: coordinates of every message.
        n_min: fewest clients whose sum may be opened.
    """

    run: str
    round: int
    attempt: int
    clients: Collection[int]
    length: int
    n_min: int

    def __post_init__(self) -> None:
        for name in ("round", "attempt"):
            object.__setattr__(self, name, _whole(name, getattr(self, name)))
        if not isinstance(self.clients, range):
            object.__setattr__(self, "clients", frozenset(_ids(self.clients)))
        elif len(self.clients):
            _ids((min(self.clients), max(self.clients)))
        if not 1 <= self.length <= MAX_LENGTH:
            raise AggregationError(f"messages of length {self.length}; allowed: 1 to 2^28")
        if not 1 <= self.n_min <= len(self.clients):
            raise AggregationError(f"n_min is {self.n_min}; allowed: 1 to the {len(self.clients)} clients of the round")


@dataclass(frozen=True)
class ClientMessage:
    """A client's shares for one round.

    Raises `AggregationError` for a body that is no vector of int64, a seed of the wrong size or an id that is none.

    Attributes:
        run, round, attempt: which opening it is meant for.
        clients: the sender's id; many ids only in a simulated cohort's joint message.
        shares: body for party 0, seeds for the others.
    """

    run: str
    round: int
    attempt: int
    clients: tuple[int, ...]
    shares: Shares

    def __post_init__(self) -> None:
        for name in ("round", "attempt"):
            object.__setattr__(self, name, _whole(name, getattr(self, name)))
        object.__setattr__(self, "clients", _ids(self.clients))
        body = self.shares.body
        # Any other 8-byte type would be added as if its bits were ring elements.
        if not isinstance(body, np.ndarray) or body.ndim != 1 or body.dtype != np.dtype("=i8"):
            kind = f"{body.dtype} {body.shape}" if isinstance(body, np.ndarray) else type(body).__name__
            raise AggregationError(f"a message's body is {kind}; allowed: a one-dimensional int64 vector")
        for seed in self.shares.seeds:
            if not isinstance(seed, bytes) or len(seed) != KEY_BYTES:
                raise AggregationError(f"a message's seed is not {KEY_BYTES} bytes long")


@dataclass(frozen=True)
class RoundSum:
    """An opened sum.

    Attributes:
        total: raw ring values, int64 `[length]`.
        clients: whose messages are in it.
    """

    total: NDArray[np.int64]
    clients: frozenset[int]


def _whole(name: str, value: object) -> int:
    """A plain int (numpy's do not travel as JSON) from 0 to 2^63 - 1."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise AggregationError(f"{name} is {value!r}; allowed: whole numbers") from None
    if not 0 <= number < 2**63:
        raise AggregationError(f"{name} is {number}; allowed: 0 to 2^63 - 1")
    return number


def _ids(clients: Iterable[object]) -> tuple[int, ...]:
    return tuple(_whole("a client id", client) for client in clients)
