"""Opens sums of zeros in every combination of settings and engines, and plants faults that the variance must show.

`python -m bench.variance --out DIR [--engines local workers flower ray]` writes `variance.json` and `variance.md`: for
each cell the variance that the ledger promises beside the realised one, with an interval (`bench.variance.verdict`).
`bench.variance.grid` says which combinations there are, which the configuration refuses, which are measured, and which
tests of the suite look at them. Noise is drawn as in runs, unseeded. Exit code 1 if a cell does not hold or a planted
fault does not show as what it is.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from bench.command import parser_of, say, seconds_left
from bench.measure import environment
from bench.records import Row, store
from bench.variance.faults import FAULTS, NoiseFault
from bench.variance.grid import (
    COORDINATES,
    ENGINES,
    PARTIES,
    STEP,
    Combination,
    every_combination,
    measured_combinations,
    possible_combinations,
)
from bench.variance.page import variance_page
from bench.variance.rounds import HONEST, Opened, Plant, open_zeros
from bench.variance.verdict import row_of
from secagg import SmpcAggregator

__all__ = ["check_combination", "check_fault", "main", "why_no_ray"]

_TIMEOUT_S = 120.0
_REST = {
    "local": "",
    "workers": "Among them any two values that go together do so; the others compute the local engine's bits, as "
    "`tests/fl_core/engines/test_worker_pool.py` tests.",
    "flower": "",
    "ray": "The nodes are those of the section above; only Flower carries their answers.",
}


def why_no_ray() -> str | None:
    """Why Flower's own simulation cannot run here; None if it can."""
    for module, name in (("flwr", "Flower"), ("ray", "Ray, on which Flower simulates,")):
        if importlib.util.find_spec(module) is None:
            return f"{name} is not installed (Sotto's extra `flower`)"
    return None


def check_combination(
    combination: Combination, parties: SmpcAggregator | None, coordinates: int = COORDINATES
) -> list[Row]:
    """Rows of a combination's two rounds."""
    return [row_of(combination, opened) for opened in _opened(combination, parties, HONEST, coordinates)]


def check_fault(fault: NoiseFault, parties: SmpcAggregator | None, coordinates: int = COORDINATES) -> list[Row]:
    """Rows of the rounds in which a planted fault must show."""
    opened = _opened(fault.combination, parties, fault.plant, coordinates)
    rows = []
    for index, left in fault.left.items():
        row = row_of(fault.combination, opened[index])
        shown = not row["low"] <= 1 <= row["high"] and row["low"] <= left <= row["high"]
        name = f"{fault.name}: {row['name']}"
        facts: Row = {key: value for key, value in row.items() if key not in ("holds", "tests")}
        rows.append({**facts, "name": name, "fault": fault.name, "ratio_expected": left, "tried": 1, "caught": shown})
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = _options()
    options = parser.parse_args(arguments)
    if options.coordinates < STEP or options.coordinates % STEP:
        parser.error(f"--coordinates is {options.coordinates}; allowed: a multiple of {STEP}")
    torch.set_num_threads(1)
    engines: dict[str, dict[str, Any]] = {}
    work: list[Combination | NoiseFault] = []
    for engine in dict.fromkeys(options.engines):
        why = why_no_ray() if engine == "ray" else None
        if why is not None:
            say(f"{engine}: not run: {why}")
            engines[engine] = {"not_run": why}
            continue
        engines[engine] = _counted(engine)
        work += measured_combinations(engine)
        work += [fault for fault in FAULTS if fault.combination.engine == engine]
    rows, faults, started = list[Row](), list[Row](), time.monotonic()
    with SmpcAggregator(PARTIES, _TIMEOUT_S) as parties:  # their processes start with their first round
        for done, task in enumerate(work, 1):
            if isinstance(task, NoiseFault):
                found = check_fault(task, parties, options.coordinates)
                faults += found
            else:
                found = check_combination(task, parties, options.coordinates)
                rows += found
            _show(done, work, found, started)
    flower = [name for name, counted in engines.items() if name == "ray" and "not_run" not in counted]
    chosen = f" --engines {' '.join(engines)}" if list(engines) != list(ENGINES) else ""
    report = {
        "environment": [environment("cpu"), *(f"Flower {version('flwr')}, Ray {version('ray')}" for _ in flower)],
        "command": f"python -m bench.variance --out DIR --coordinates {options.coordinates}{chosen}",
        "seconds": round(time.monotonic() - started, 1),
        "engines": engines,
        "rows": rows,
        "planted": faults,
    }
    path = options.out / "variance.json"
    store(path, report)
    path.with_suffix(".md").write_text(variance_page(report))
    return int(not all([*(row["holds"] for row in rows), *(row["caught"] for row in faults)]))


def _opened(combination: Combination, parties: SmpcAggregator | None, plant: Plant, coordinates: int) -> list[Opened]:
    with tempfile.TemporaryDirectory(prefix="sotto-variance-") as folder:
        return open_zeros(combination, Path(folder) / "run", parties, plant, coordinates)


def _counted(engine: str) -> dict[str, Any]:
    every, possible = len(list(every_combination(engine))), len(possible_combinations(engine))
    return {
        "combinations": every,
        "refused": every - possible,
        "possible": possible,
        "measured": len(measured_combinations(engine)),
        "rest": _REST[engine],
    }


def _show(done: int, work: list[Combination | NoiseFault], rows: list[Row], started: float) -> None:
    left = seconds_left(started, done, len(work))
    ratios = ", ".join(f"{row['ratio']:.4f}" for row in rows)
    good = all(row["caught"] if "fault" in row else row["holds"] for row in rows)
    said = f"{work[done - 1]}: {ratios}{'' if good else ' WRONG'}"
    say(f"{done} of {len(work)}: {said}; {left:.0f} s left")


def _options() -> argparse.ArgumentParser:
    parser = parser_of("variance", __doc__, "variance.json and variance.md")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES), help="default: all")
    parser.add_argument("--coordinates", type=int, default=5 * COORDINATES, help=f"of a sum, a multiple of {STEP}")
    return parser


if __name__ == "__main__":
    sys.exit(main())
