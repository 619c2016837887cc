"""Times of a sampler's small batches beside what was drawn, and Welch's t between those of small and of large draws.

In the manner of dudect (Reparaz, Balasch, Verbauwhede 2017): the largest |t| over several crops of slow batches.
"""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from bench.records import Row
from bench.sampler_timing.traces import COUNTS, Sampler, permutation_p, record
from secagg.randomness import Keystream

__all__ = ["COUNTED", "EVIDENCE", "classes", "largest_t", "row_of", "timed"]

EVIDENCE = 4.5
COUNTED = 4000  # batches whose work is counted, at most
# Share of the batches that a crop keeps: the fastest, of both classes together.
_KEPT = (1.0, 0.99, 0.95, 0.9, 0.75, 0.5)


def timed(sampler: Sampler, sigma: int, size: int, batches: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nanoseconds and sum of |x| of each batch, `[batches]` each."""
    nanoseconds, sums = np.empty(batches), np.empty(batches)
    root = Keystream.system()
    for warm in range(50):
        sampler(sigma, size, root.child("warm", warm))
    for row in range(batches):
        source = root.child(row)
        source.words(1)  # its cipher is set up before the clock runs
        begin = time.perf_counter_ns()
        drawn = sampler(sigma, size, source)
        nanoseconds[row] = time.perf_counter_ns() - begin
        sums[row] = np.abs(drawn).sum()
    return nanoseconds, sums


def classes(sums: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Batches with the smallest and the largest sums, a quarter each."""
    order = np.argsort(sums, kind="stable")
    quarter = len(sums) // 4
    return order[:quarter], order[-quarter:]


def largest_t(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Welch's t of largest size over all crops; positive if `second` is slower."""
    pooled = np.concatenate([first, second])
    found = [_welch(*(part[part <= np.quantile(pooled, kept)] for part in (first, second))) for kept in _KEPT]
    return max(found, key=abs)


def _welch(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    if min(len(first), len(second)) < 2:
        return 0.0
    error = float(np.sqrt(first.var(ddof=1) / len(first) + second.var(ddof=1) / len(second)))
    return float(second.mean() - first.mean()) / error if error else 0.0


def row_of(name: str, sampler: Sampler, sigma: int, size: int, batches: int, seed: str) -> Row:
    """One sampler at one sigma, measured and counted."""
    nanoseconds, sums = timed(sampler, sigma, size, batches)
    small, large = classes(sums)
    mixed = np.random.Generator(np.random.PCG64(1)).permutation(sums)
    traces = record(sampler, sigma, size, min(batches, COUNTED), seed)
    counted = {}
    for column, count in enumerate(COUNTS):
        values = traces.counts[:, column]
        moving = values.min() != values.max()
        counted[count] = {
            "mean": float(values.mean()),
            "correlation": float(np.corrcoef(values, traces.sums)[0, 1]) if moving else 0.0,
            "p": permutation_p(values, traces.sums),
            "constant": not moving,
        }
    medians = [float(np.median(nanoseconds[part])) for part in (small, large)]
    return {
        "sampler": name, "sigma": sigma, "size": size, "batches": batches,
        "t": largest_t(nanoseconds[small], nanoseconds[large]),
        "t_shuffled": largest_t(*(nanoseconds[part] for part in classes(mixed))), "median_ns": medians,
        "counted": counted,
    }  # fmt: skip
