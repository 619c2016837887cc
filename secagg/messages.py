"""What crosses between clients, aggregators and server in one round, as frozen data.

Checked where it is made. A share or a seed in it is never printed, not in an error either.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from secagg.errors import AggregationError
from secagg.limits import MAX_LENGTH
from secagg.noise_draws import INTEGER_MECHANISMS, MAX_SIGMA, MIN_SIGMA
from secagg.randomness import KEY_BYTES
from secagg.sharing import Shares

__all__ = ["ClientMessage", "RoundNoise", "RoundSpec", "RoundSum"]


@dataclass(frozen=True)
class RoundNoise:
    """Noise that the aggregators have a hand in.

    Attributes:
        mechanism: of `noise_shares.draw_noise`; "" if they add and remove nothing.
        aggregator_std: standard deviation in grid steps that each aggregator adds to its share before the opening.
        components: XNoise: standard deviations, in grid steps, of a client's noise components. Component 0 always
            stays; component k >= 1 is removed from the sum unless at least k of the round's clients dropped out.
    """

    mechanism: str = ""
    aggregator_std: float = 0.0
    components: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "components", tuple(float(std) for std in self.components))
        values = (self.aggregator_std, *self.components)
        if not all(0 <= std < 2**62 for std in values) or 0.0 in self.components:
            raise AggregationError(f"noise of {values} grid steps; allowed: finite numbers, components above 0")
        if any(values) != bool(self.mechanism):
            raise AggregationError("noise of aggregators or in components needs a mechanism, and only they do")
        whole = self.mechanism in INTEGER_MECHANISMS
        if self.mechanism and not whole and (self.components or self.mechanism != "gaussian"):
            raise AggregationError(
                f"noise by {self.mechanism!r}; allowed: {', '.join(INTEGER_MECHANISMS)}; gaussian without components"
            )
        # Found now and not when the sum is about to be opened.
        drawn = [std for std in values if std and not (std == int(std) and MIN_SIGMA <= std <= MAX_SIGMA)]
        if whole and drawn:
            raise AggregationError(f"noise of {drawn[0]} grid steps; allowed: whole ones from {MIN_SIGMA} to 2^30")

    @property
    def removable(self) -> int:
        """How many of a client's components may be removed, each of which has a seed."""
        return max(0, len(self.components) - 1)


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
        scale: grid steps per unit; bound into every sealed share.
        bits: width of the ring, 2^bits elements; the caller sees to the headroom.
        model: hexadecimal digest of what the clients' vectors depend on (the broadcast model); openings of one model
            must be over equal sets of clients, or over sets that differ by many.
        noise: what the aggregators add or remove.
        norm_bound: L2 bound in grid steps that every client's vector is checked against; 0: no check.
    """

    run: str
    round: int
    attempt: int
    clients: Collection[int]
    length: int
    n_min: int
    scale: int = 1
    bits: int = 64
    model: str = ""
    noise: RoundNoise = RoundNoise()
    norm_bound: int = 0

    def __post_init__(self) -> None:
        for name in ("round", "attempt", "length", "n_min", "scale", "bits", "norm_bound"):
            object.__setattr__(self, name, _whole(name, getattr(self, name)))
        if not isinstance(self.clients, range):
            object.__setattr__(self, "clients", frozenset(_ids(self.clients)))
        elif len(self.clients):
            _ids((min(self.clients), max(self.clients)))
        if not 1 <= self.length <= MAX_LENGTH:
            raise AggregationError(f"messages of length {self.length}; allowed: 1 to 2^28")
        if not 2 <= self.bits <= 64:
            raise AggregationError(f"a ring of 2^{self.bits} elements; allowed: 2^2 to 2^64")
        if self.norm_bound and self.bits != 64:
            raise AggregationError(f"a norm check in a ring of 2^{self.bits} elements; allowed: 2^64, for squares")
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
        noise_seeds: XNoise: the 32-byte seeds of noise components 1, 2, ...; each party gets an XOR share of them.
    """

    run: str
    round: int
    attempt: int
    clients: tuple[int, ...]
    shares: Shares
    noise_seeds: tuple[bytes, ...] = field(default=(), repr=False)  # in a log they would take the noise away

    def __post_init__(self) -> None:
        for name in ("round", "attempt"):
            object.__setattr__(self, name, _whole(name, getattr(self, name)))
        object.__setattr__(self, "clients", _ids(self.clients))
        object.__setattr__(self, "noise_seeds", tuple(self.noise_seeds))
        body = self.shares.body
        # Any other 8-byte type would be added as if its bits were ring elements.
        if not isinstance(body, np.ndarray) or body.ndim != 1 or body.dtype != np.dtype("=i8"):
            kind = f"{body.dtype} {body.shape}" if isinstance(body, np.ndarray) else type(body).__name__
            raise AggregationError(f"a message's body is {kind}; allowed: a one-dimensional int64 vector")
        for seed in (*self.shares.seeds, *self.noise_seeds):
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
