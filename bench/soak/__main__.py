"""Runs for thousands of rounds, and clients under load for minutes: nothing grows, nothing hangs, every sum is right.

`python -m bench.soak --out DIR [--kinds rounds rounds-smpc clients] [--rounds N] [--minutes M] [--seed S]` writes
`soak.json`, `soak.md` and `soak.png`. "rounds" and "rounds-smpc" are `sotto run` with everything it writes, watched
from outside; "clients" is a deployment of three daemons, a coordinator and 24 clients that fail as a seed draws.
Exit code 1 if anything did not hold, 2 for arguments that cannot be. Needs Linux.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.command import add_scratch, add_seed, parser_of, say
from bench.measure import environment
from bench.records import Row, load_by_name, store
from bench.soak.clients import run_clients
from bench.soak.deployment import Load
from bench.soak.figure import curves_of, draw
from bench.soak.page import SOAKS, soak_page
from bench.soak.rounds import run_rounds
from bench.soak.samples import Sample
from bench.soak.verdict import Limits

__all__ = ["KINDS", "LIMITS", "main"]

KINDS = tuple(SOAKS)
# Whoever aggregates keeps 0.6 KiB an opening for ever (tracemalloc: `secagg.openings`), in the clear that is the run
# itself. Under load rounds are few and memory allocators are not exact, so that a slope is told from zero less finely.
LIMITS = {
    "rounds": Limits(bytes_a_round=2048.0),
    "rounds-smpc": Limits(),
    "clients": Limits(bytes_a_round=4096.0),
}


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    options = _options().parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "soak.json"
    part = load_by_name(path)
    part["environment"] = [environment("cpu")]
    failed = False
    for kind in options.kinds:
        row = _soak(kind, options)
        part["rows"][kind] = row
        for problem in row["problems"]:
            say(f"{kind}: {problem}")
        failed |= bool(row["problems"])
        part["rows"] = {name: part["rows"][name] for name in KINDS if name in part["rows"]}
        store(path, part)
        path.with_suffix(".md").write_text(soak_page(part))
        draw(part["rows"], path.with_suffix(".png"))
    return int(failed)


def _soak(kind: str, options: argparse.Namespace) -> Row:
    def tell(text: str) -> None:
        say(f"{kind}: {text}")

    command = f"python -m bench.soak --out DIR --kinds {kind} "
    command += (
        f"--minutes {options.minutes:g} --seed {options.seed}" if kind == "clients" else f"--rounds {options.rounds}"
    )
    row: dict[str, Any]
    samples: list[Sample]
    with tempfile.TemporaryDirectory(prefix="sotto-soak-", dir=options.scratch) as scratch:
        place = Path(scratch).resolve()
        began = time.monotonic()
        if kind == "clients":
            work = Load(60.0 * options.minutes)
            row, samples = run_clients(work, place / "deployment", options.seed, tell, LIMITS[kind])
            row["longest_allowed_s"] = work.longest_s
        else:
            row, watched = run_rounds(kind, options.rounds, place, options.limit_s, tell, LIMITS[kind])
            samples = watched.samples
        tell(f"done in {time.monotonic() - began:.0f} s, {len(row['problems'])} problems")
    return {
        "command": command,
        "tried": row.get("rounds", row.get("rounds_watched")),
        **row,
        "curves": curves_of(samples),
    }


def _options() -> argparse.ArgumentParser:
    parser = parser_of("soak", __doc__, "soak.json, soak.md and soak.png")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="default: all")
    parser.add_argument("--rounds", type=_positive, default=2000, help="of a run")
    parser.add_argument("--minutes", type=_minutes, default=10.0, help="of clients under load; at least 1")
    add_seed(parser, "clients' and links' faults")
    parser.add_argument("--limit-s", type=float, default=720.0, help="seconds after which a run is interrupted")
    add_scratch(parser)
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 20:
        raise argparse.ArgumentTypeError(f"{number} rounds; allowed: 20 or more, fewer have no second half")
    return number


def _minutes(text: str) -> float:
    number = float(text)
    if not number >= 1:
        raise argparse.ArgumentTypeError(f"{number:g} minutes; allowed: 1 or more, for two quiet stretches")
    return number


if __name__ == "__main__":
    sys.exit(main())
