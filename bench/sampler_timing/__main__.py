"""Does the time that a noise sampler takes tell what it drew? Measured in the manner of dudect, and counted.

`python -m bench.sampler_timing --out DIR` writes `sampler_timing.json` and `sampler_timing.md`. Single small batches,
each of a fresh stream, are timed one after another; the quarter with the smallest sum of |x| is compared with the
quarter with the largest by Welch's t, with and without cropping slow ones (Reparaz, Balasch, Verbauwhede 2017: |t|
above 4.5 is evidence). A planted sampler that works |x| more must be found, and labels that were shuffled must not.
Exit code 1 if either fails. A small t is no proof of constant time.
"""

from __future__ import annotations

import sys

from bench.command import parser_of, say
from bench.measure import environment
from bench.records import load, store
from bench.sampler_timing.page import timing_page
from bench.sampler_timing.timing import EVIDENCE, row_of
from bench.sampler_timing.traces import SAMPLERS, leaky

__all__ = ["main"]

_CASES = [
    ("discrete_gaussian", 5), ("discrete_gaussian", 16), ("discrete_gaussian", 1000), ("discrete_gaussian", 2**20),
    ("skellam", 5), ("skellam", 200), ("skellam", 1000), ("skellam", 2**20),
    ("discrete_table", 5), ("discrete_table", 1000),
]  # fmt: skip
_PLANT = "planted: work for every |x|"


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = parser_of("sampler_timing", __doc__, "sampler_timing.json and sampler_timing.md")
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
        say(f"{number} of {len(cases)}: {name}, sigma {sigma}: t {part['rows'][-1]['t']:+.1f}")
    planted = part["rows"][-1]
    quiet = all(abs(row["t_shuffled"]) < EVIDENCE for row in part["rows"])
    part["holds"] = {"planted_found": planted["t"] > EVIDENCE, "shuffled_quiet": quiet}
    store(path, part)
    path.with_suffix(".md").write_text(timing_page(part))
    return int(not all(part["holds"].values()))


if __name__ == "__main__":
    sys.exit(main())
