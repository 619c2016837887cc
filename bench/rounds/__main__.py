"""Rounds a minute and clients a second of Sotto, beside apple/pfl-research and Flower's simulation, on equal work.

`python -m bench.rounds --out DIR --pfl-python P --flower-python P` measures a grid of cells one after the other, goes
on where it stopped, and says why it left a cell out. Model, base, records and local step are the same in all; before
anything is timed, every framework's adapter after two rounds without noise is compared with plain PyTorch's, and one
whose local work differs is not measured. Each cell runs in a process of its own with all cores. Seconds are from the
end of one round to the end of the next; the first round is never counted; nothing is evaluated. Memory is the largest
sum over all processes of a cell, shared pages counted once.

In the peers' favour: glibc keeps freed memory for them as Sotto lets it for itself, and what each peer's own module
says.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from bench.command import add_scratch, parser_of
from bench.measure import environment
from bench.records import add_environment, load, store
from bench.rounds.arithmetic import arithmetic_of
from bench.rounds.cells import Cell, grid, rounds_of, shrunk
from bench.rounds.equal_work import TOLERANCE, check_equal_work
from bench.rounds.figure import draw
from bench.rounds.page import rounds_page
from bench.rounds.runner import NOISE_MULTIPLIER, CellRunner
from bench.rounds.work import load_work

__all__ = ["main", "measure"]

CLIP_NORM = 1.0


def measure(runner: CellRunner, cell: Cell) -> dict[str, Any]:
    """One run of a cell: seconds of its counted rounds, the first round's apart, and its memory."""
    load_before = os.getloadavg()[0]
    result = runner.run(cell, cell.clients, 1 + rounds_of(cell), CLIP_NORM)
    run: dict[str, Any] = {
        "seconds": result["seconds"][1:],
        "first": (result["seconds"] or [None])[0],
        "peak_mib": result["peak_mib"],
        "load": load_before,
        **result.get("done", {}),
    }
    return run | {why: result[why] for why in ("cut", "not_run") if why in result}


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    options = _options().parse_args(arguments)
    cells = [cell for cell in grid() if options.cells is None or _named(cell, options.cells)]
    if options.quick:
        cells = shrunk(cells)
    pythons = {
        "sotto": sys.executable,
        "sotto-workers": sys.executable,
        "pfl": options.pfl_python,
        "pfl-processes": options.pfl_python,
        "flower": options.flower_python,
    }
    cells = [cell for cell in dict.fromkeys(cells) if pythons[cell.framework]]
    if options.list:
        print("\n".join(cell.name for cell in cells))
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "rounds.json"
    part = load(path)
    part.setdefault("equal_work", [])
    part.setdefault("arithmetic", [])
    part |= {"clip_norm": CLIP_NORM, "noise_multiplier": NOISE_MULTIPLIER, "tolerance": TOLERANCE}
    cores = options.cores or len(os.sched_getaffinity(0))
    torch.set_num_threads(cores)
    add_environment(part, environment("cpu"))
    most = {work: max([*(c.clients for c in cells if c.work == work), 4]) for work in ("mnist", "next_word")}
    with tempfile.TemporaryDirectory(prefix="sotto-bench-", dir=options.scratch) as scratch:
        runner = CellRunner(Path(scratch), pythons, cores, options.timeout, most)
        for number in range(options.repeat):
            for cell in cells:
                if _add(runner, cell, part, number):
                    store(path, part)
        _count_arithmetic(runner, cells, part)
    store(path, part)
    path.with_suffix(".md").write_text(rounds_page(part))
    if any(run["seconds"] for row in part["rows"] for run in row["runs"]):
        draw(part, path.with_suffix(".png"))
    return 0


def _add(runner: CellRunner, cell: Cell, part: dict[str, Any], number: int) -> bool:
    """Run a cell unless it has been run `number + 1` times or ran out of time; whether anything was added."""
    row = next((row for row in part["rows"] if row["name"] == cell.name), None)
    if row is not None:
        row["runs"] = [run for run in row["runs"] if run["seconds"] or "more than" in run.get("not_run", "")]
        if len(row["runs"]) > number:
            return False
    check = _checked(runner, cell, part)
    why = check.get("not_run") or f"its local work differs from plain PyTorch's by {check['difference']:.1e}"
    run = measure(runner, cell) if check["equal"] else {"seconds": [], "peak_mib": 0.0, "load": 0.0, "not_run": why}
    if row is None:
        row = {**cell.fields, "guarantee": cell.guarantee, "runs": []}
        part["rows"].append(row)
    row["runs"].append(run)
    print(json.dumps({"name": cell.name, **run}), flush=True)
    return True


def _checked(runner: CellRunner, cell: Cell, part: dict[str, Any]) -> dict[str, Any]:
    """The comparison for a cell's framework and work, made once; one that could not run is tried again."""
    key = {"work": cell.work, "inputs": cell.inputs, "framework": cell.framework}
    for row in part["equal_work"]:
        if key.items() <= row.items() and "not_run" not in row:
            return dict(row)
    part["equal_work"] = [row for row in part["equal_work"] if not key.items() <= row.items()]
    found = check_equal_work(runner, cell)
    part["equal_work"].append(found)
    print(json.dumps(found), flush=True)
    return found


def _count_arithmetic(runner: CellRunner, cells: list[Cell], part: dict[str, Any]) -> None:
    """Count each measured work's operations once, beside this machine's rate."""
    for cell in cells:
        key = {"work": cell.work, "inputs": cell.inputs, "rank": cell.rank}
        if not any(key.items() <= row.items() for row in part["arithmetic"]):
            part["arithmetic"].append(arithmetic_of(load_work(runner.work(cell))))


def _named(cell: Cell, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatch(cell.name, pattern) for pattern in patterns)


def _options() -> argparse.ArgumentParser:
    parser = parser_of("rounds", __doc__, "rounds.json, rounds.md and rounds.png")
    parser.add_argument(
        "--pfl-python", help="interpreter with pfl 0.6, torch, transformers, peft; else pfl is left out"
    )
    parser.add_argument(
        "--flower-python", help="interpreter with flwr 1.41, ray, torch, transformers, peft; else left out"
    )
    parser.add_argument("--cells", nargs="+", help="patterns of names, such as 'mnist-1000-*' (default: all)")
    parser.add_argument("--list", action="store_true", help="print the names of the chosen cells and stop")
    parser.add_argument("--quick", action="store_true", help="the same cells with 8 to 200 clients")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each cell; those that are there count")
    parser.add_argument("--cores", type=int, help="that a cell may use (default: all there are)")
    parser.add_argument("--timeout", type=float, default=240.0, help="seconds for one run of a cell")
    add_scratch(parser, "the works' files")
    return parser


if __name__ == "__main__":
    sys.exit(main())
