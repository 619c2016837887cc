"""Dividing the records of a public benchmark over simulated clients.

Takes labels and a public seed; gives each client's record indices, every record exactly once. It must never
be used as a secret: in a simulation the division is known to everyone, only which records take part in a
round is not.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from secagg.errors import SottoError

__all__ = ["division_words", "largest_owners", "partition"]


def partition(
    labels: NDArray[np.int64],
    clients: int,
    scheme: str = "iid",
    alpha: float = 0.5,
    seed: int = 0,
) -> tuple[NDArray[np.int64], ...]:
    """Divide records `0 .. len(labels) - 1` over `clients` clients.

    `iid`: a random division whose sizes differ by at most one. `dirichlet`: for every class, the clients'
    shares are one draw of Dirichlet(alpha, ..., alpha) (Hsu, Qi, Brown 2019, "Measuring the Effects of
    Non-Identical Data Distribution for Federated Visual Classification"): small alpha gives each client few
    classes. A Dirichlet client may come out empty; it then sends zero plus noise like everyone else.

    Args:
        labels: int64 `[N]`, class of each record.
        clients: how many clients, from 1 to the number of records.
        scheme: `iid` or `dirichlet`.
        alpha: concentration of the Dirichlet shares, above 0; `iid` ignores it.
        seed: public seed, 0 or more; the same arguments give the same division.

    Returns:
        One sorted int64 index array per client; together they hold every record exactly once.

    Raises:
        SottoError: an argument out of range.
    """
    records = len(labels)
    if clients < 1:
        raise SottoError(f"federation.clients is {clients}; allowed: 1 or more")
    if seed < 0:
        raise SottoError(f"data.seed is {seed}; allowed: 0 or more")
    if clients > records:
        raise SottoError(
            f"federation.clients is {clients} but there are {records} records; allowed: at most {records}, "
            f"so that no client must be empty"
        )
    generator = np.random.Generator(np.random.PCG64(seed))
    if scheme == "iid":
        parts = np.array_split(generator.permutation(records).astype(np.int64), clients)
    elif scheme == "dirichlet":
        if not (math.isfinite(alpha) and alpha > 0):
            raise SottoError(f"data.alpha is {alpha}; allowed: a finite number above 0")
        parts = _dirichlet(np.asarray(labels), clients, alpha, generator)
    else:
        raise SottoError(f"data.partition is {scheme!r}; allowed: iid, dirichlet")
    return tuple(np.sort(part) for part in parts)


def division_words(scheme: str, clients: int, alpha: float, seed: int) -> str:
    """A division in words: for the same records, equal words are equal divisions."""
    how = f"dirichlet with alpha {alpha}" if scheme == "dirichlet" else scheme
    return f"divided {how} over {clients} clients with seed {seed}"


def largest_owners(owners: NDArray[np.int64], clients: int) -> tuple[NDArray[np.int64], ...]:
    """The natural division: a client for each of the `clients` owners with the most records, largest first.

    Which owners there are and how much they have is public in a simulation; records of other owners belong to nobody.

    Args:
        owners: int64 `[N]`, the owner of each record, in `0 .. owners - 1`.
        clients: how many owners become clients, at least 1.

    Returns:
        One sorted int64 index array per client; owners with equally many records in the order of their numbers.

    Raises:
        SottoError: if there are fewer owners than clients.
    """
    sizes = np.bincount(owners)
    present = int((sizes > 0).sum())
    if not 1 <= clients <= present:
        raise SottoError(
            f"federation.clients is {clients} but there are {present} users; allowed: 1 to {present} "
            f"(all of them: federation.clients={present})"
        )
    chosen = np.argsort(-sizes, kind="stable")[:clients]
    order = np.argsort(owners, kind="stable").astype(np.int64)
    ends = np.cumsum(sizes)
    return tuple(order[ends[owner] - sizes[owner] : ends[owner]] for owner in chosen)


def _dirichlet(
    labels: NDArray[np.int64], clients: int, alpha: float, generator: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Per class: shuffle its records and cut them at the cumulated shares."""
    owner = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        shares = _dirichlet_shares(clients, alpha, generator)
        cuts = np.floor(np.cumsum(shares)[:-1] * len(members) + 0.5).astype(np.int64)
        owner[members] = np.searchsorted(cuts, np.arange(len(members)), side="right")
    order = np.argsort(owner, kind="stable").astype(np.int64)
    sizes = np.bincount(owner, minlength=clients)
    return np.split(order, np.cumsum(sizes)[:-1])


def _dirichlet_shares(clients: int, alpha: float, generator: np.random.Generator) -> NDArray[np.float64]:
    """One Dirichlet draw; exact for tiny alpha, where plain gamma variates underflow to 0/0.

    Gamma(alpha) = Gamma(alpha + 1) * U^(1/alpha) (Marsaglia, Tsang 2000), taken in logarithms.
    """
    uniform = 1.0 - generator.random(clients)  # in (0, 1]
    logs = np.log(generator.gamma(alpha + 1.0, size=clients)) + np.log(uniform) / alpha
    weights = np.exp(logs - logs.max())
    return np.asarray(weights / weights.sum(), dtype=np.float64)
