"""What a noise sampler does, counted without a clock: words drawn, passes, look-ups left open, exact decisions.

Takes a sampler by name, a whole sigma and a batch size; gives a row of counts for every batch beside what was drawn,
and statistics of how much the one tells of the other. Nothing of the product is changed: its functions are wrapped
while a recording lasts.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray

from kernels.discrete_table import discrete_gaussian_table
from kernels.ring_encode import discrete_gaussian_noise
from secagg import discrete_gaussian, exact_decisions, skellam
from secagg.randomness import KEY_BYTES, Keystream

__all__ = ["COUNTS", "SAMPLERS", "CountedKeystream", "Sampler", "Traces", "leaky", "permutation_p", "record"]

Sampler = Callable[[int, int, Keystream], NDArray[np.int64]]
# Its package has a function of the same name.
ring_encode = importlib.import_module("kernels.ring_encode")
COUNTS = ("bytes", "takes", "open", "exact")


class CountedKeystream(Keystream):
    """A stream that counts what is taken from it."""

    __slots__ = ("bytes", "takes")

    def __init__(self, key: bytes, secure: bool) -> None:
        super().__init__(key, secure)
        self.bytes = self.takes = 0

    def take(self, count: int) -> bytes:
        self.bytes += count
        self.takes += 1
        return super().take(count)


@dataclass(frozen=True)
class Traces:
    """Batches of one sampler.

    Attributes:
        counts: int64 `[batches, 4]`, by `COUNTS`: keystream bytes and calls for them (a pass of a sampler makes a
            fixed number), candidates that one look-up did not accept, decisions that 64 bits left open.
        drawn: int64 `[batches, size]`.
    """

    counts: NDArray[np.int64]
    drawn: NDArray[np.int64]

    @property
    def sums(self) -> NDArray[np.float64]:
        """Sum of |x|, a number a batch."""
        found: NDArray[np.float64] = np.abs(self.drawn).astype(np.float64).sum(1)
        return found


def _device_table(sigma: int, size: int, source: Keystream) -> NDArray[np.int64]:
    """What a client's device adds (`kernels.ring_encode`), on a CPU."""
    return discrete_gaussian_noise(size, discrete_gaussian_table(float(sigma)), source.take(KEY_BYTES)).numpy()


def leaky(sigma: int, size: int, source: Keystream) -> NDArray[np.int64]:
    """A planted fault: exact draws, and one more step of work and one more word for every sigma / 4 of |x|."""
    drawn = discrete_gaussian.discrete_gaussian(sigma, size, source)
    for _ in range(int(np.abs(drawn).sum()) // max(1, sigma // 4)):
        source.words(1)
    return drawn


SAMPLERS: dict[str, Sampler] = {
    "discrete_gaussian": discrete_gaussian.discrete_gaussian,
    "skellam": skellam.skellam,
    "discrete_table": _device_table,
}


def record(sampler: Sampler, sigma: int, size: int, batches: int, seed: str) -> Traces:
    """Counts and draws of many batches, each of a stream of its own.

    Args:
        sampler: one of `SAMPLERS`, or a fault.
        sigma: grid steps.
        size: draws a batch.
        batches: how many.
        seed: of the streams.
    """
    root = Keystream.seeded(seed.encode())
    counts = np.zeros((batches, len(COUNTS)), np.int64)
    drawn = np.zeros((batches, size), np.int64)
    with _counting() as found:
        for row in range(batches):
            found["open"] = found["exact"] = 0
            source = CountedKeystream(root.child(row).export_key(), False)
            drawn[row] = sampler(sigma, size, source)
            counts[row] = source.bytes, source.takes, found["open"], found["exact"]
    return Traces(counts, drawn)


def permutation_p(first: NDArray[Any], second: NDArray[Any], seed: int = 0, shuffles: int = 999) -> float:
    """Chance of a correlation at least as large if the two are independent; 1 if one of them is constant."""
    a, b = (np.asarray(x, np.float64) - np.mean(x) for x in (first, second))
    if not a.any() or not b.any():
        return 1.0
    generator = np.random.Generator(np.random.PCG64(seed))
    measured = abs(float(a @ b))
    others = [abs(float(generator.permutation(a) @ b)) for _ in range(shuffles)]
    return (1 + sum(other >= measured for other in others)) / (1 + shuffles)


@contextlib.contextmanager
def _counting() -> Iterator[dict[str, int]]:
    found = {"open": 0, "exact": 0}

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any) -> Any:
            found["exact"] += 1
            return function(*arguments)

        return wrapped

    def gaussian(words: Any, block: Any, magnitude: Any, sigma: int, table: Any, source: Any) -> Any:
        found["open"] += int((words >= table.sure.take(block, mode="clip")).sum())
        return accept_gaussian(words, block, magnitude, sigma, table, source)

    def difference(words: Any, block: Any, magnitude: Any, sigma: int, table: Any, source: Any) -> Any:
        inside = np.minimum(block, len(table.sure) - 1)
        found["open"] += int(((words >= table.sure[inside]) | (block >= len(table.sure))).sum())
        return accept_skellam(words, block, magnitude, sigma, table, source)

    def search(high: torch.Tensor, low: torch.Tensor, u_high: torch.Tensor, u_low: torch.Tensor) -> torch.Tensor:
        found["exact"] += int(torch.isin(u_high, high).sum())
        counts: torch.Tensor = searched(high, low, u_high, u_low)
        return counts

    accept_gaussian, accept_skellam, searched = discrete_gaussian._accept, skellam._accept, ring_encode._search
    with contextlib.ExitStack() as stack:
        for module, name, wrapper in (
            (exact_decisions, "entry_of", counted(exact_decisions.entry_of)),
            (discrete_gaussian, "_exact_accept", counted(discrete_gaussian._exact_accept)),
            (skellam, "_exact_accept", counted(skellam._exact_accept)),
            (discrete_gaussian, "_accept", gaussian),
            (skellam, "_accept", difference),
            (ring_encode, "_search", search),
        ):
            stack.enter_context(mock.patch.object(module, name, wrapper))
        yield found
