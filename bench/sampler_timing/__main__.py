"""Does the time that a noise sampler takes tell what it drew? Measured in the manner of dudect, and counted.

`python -m bench.sampler_timing --out DIR` writes `sampler_timing.json` and `sampler_timing.md`. Single small batches,
each of a fresh stream, are timed one after another; the quarter with the smallest sum of |x| is compared with the
quarter with the largest by Welch's t, with and without cropping slow ones (Reparaz, Balasch, Verbauwhede 2017: |t|
above 4.5 is evidence). A planted sampler that works |x| more must be found, and labels that were shuffled must not.
Exit code 1 if either fails. A small t is no proof of constant time.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.measure import environment
from bench.sampler_timing.traces import COUNTS, SAMPLERS, Sampler, leaky, permutation_p, record
from bench.tables import load, store
from secagg.randomness import Keystream

__all__ = ["EVIDENCE", "classes", "largest_t", "main", "timed"]

EVIDENCE = 4.5
# Share of the batches that a crop keeps: the fastest, of both classes together.
_KEPT = (1.0, 0.99, 0.95, 0.9, 0.75, 0.5)
_CASES = [
    ("discrete_gaussian", 5), ("discrete_gaussian", 16), ("discrete_gaussian", 1000), ("discrete_gaussian", 2**20),
    ("skellam", 5), ("skellam", 200), ("skellam", 1000), ("skellam", 2**20),
    ("discrete_table", 5), ("discrete_table", 1000),
]  # fmt: skip
_PLANT = "planted: work for every |x|"


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


def row_of(name: str, sampler: Sampler, sigma: int, size: int, batches: int, seed: str) -> dict[str, Any]:
    """One sampler at one sigma, measured and counted."""
    nanoseconds, sums = timed(sampler, sigma, size, batches)
    small, large = classes(sums)
    mixed = np.random.Generator(np.random.PCG64(1)).permutation(sums)
    traces = record(sampler, sigma, size, min(batches, 4000), seed)
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


def timing_page(part: dict[str, Any]) -> str:
    """One page."""
    lines = [
        "# Does a sampler's time tell what it drew?",
        "",
        *(f"Measured: {line}." for line in part["environment"]),
        "",
        f"Command: `{part['command']}`. Batches are timed one by one and classed by their sum of |x|; t is Welch's, of "
        f"the quarter with the largest sums against the quarter with the smallest, the largest over crops; |t| above "
        f"{EVIDENCE} is evidence that time depends on values, below it none was found with so many batches. r is the "
        "correlation of a count with the sum over other batches: keystream bytes drawn, candidates that one look-up "
        "did not accept (each costs an exponential), decisions beyond 64 bits (each costs about a millisecond and "
        "befalls one candidate in 2^28 or fewer, by the words drawn and hardly by the value). "
        "Shuffled: the same times with classes drawn at random.",
        "",
        "| sampler | sigma | draws a batch | batches | medians, microseconds | t | evidence | t shuffled | bytes: r | "
        "left open: r | exact: in all |",
        "| --- " * 11 + "|",
    ]
    for row in part["rows"]:
        cells = [row["sampler"].replace("|", "\\|"), f"{row['sigma']:,}", row["size"], f"{row['batches']:,}"]
        cells += [" / ".join(f"{ns / 1000:.1f}" for ns in row["median_ns"]), f"{row['t']:+.1f}"]
        cells += ["yes" if abs(row["t"]) > EVIDENCE else "none found", f"{row['t_shuffled']:+.1f}"]
        for count in ("bytes", "open"):
            found = row["counted"][count]
            cells.append("constant" if found["constant"] else f"{found['correlation']:+.3f} (p {found['p']:.3f})")
        cells.append(f"{row['counted']['exact']['mean'] * min(row['batches'], 4000):.0f}")
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join([*lines, ""])


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.sampler_timing", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for sampler_timing.json and .md")
    parser.add_argument("--batches", type=int, default=40_000, help="timed batches of each sampler, 100 or more")
    parser.add_argument("--size", type=int, default=64, help="draws a batch")
    parser.add_argument("--seed", default="sampler timing", help="of the streams whose work is counted")
    options = parser.parse_args(arguments)
    if options.batches < 100 or options.size < 1:
        parser.error(f"--batches {options.batches} --size {options.size}; allowed: 100 or more, 1 or more")
    path = options.out / "sampler_timing.json"
    part = {**load(path), "environment": [environment("cpu")], "rows": []}
    part["command"] = (
        f"python -m bench.sampler_timing --out DIR --batches {options.batches} --size {options.size} "
        f"--seed '{options.seed}'"
    )
    cases = [(name, SAMPLERS[name], sigma) for name, sigma in _CASES] + [(_PLANT, leaky, 1000)]
    for number, (name, sampler, sigma) in enumerate(cases, 1):
        part["rows"].append(row_of(name, sampler, sigma, options.size, options.batches, options.seed))
        print(f"{number} of {len(cases)}: {name}, sigma {sigma}: t {part['rows'][-1]['t']:+.1f}", file=sys.stderr)
    planted = part["rows"][-1]
    quiet = all(abs(row["t_shuffled"]) < EVIDENCE for row in part["rows"])
    part["holds"] = {"planted_found": planted["t"] > EVIDENCE, "shuffled_quiet": quiet}
    store(path, part)
    path.with_suffix(".md").write_text(timing_page(part))
    return int(not all(part["holds"].values()))


if __name__ == "__main__":
    sys.exit(main())
