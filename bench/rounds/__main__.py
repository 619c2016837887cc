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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.command import add_scratch, parser_of, say
from bench.measure import environment
from bench.places import ROOT
from bench.records import add_environment, load, store
from bench.rounds.arithmetic import arithmetic_of
from bench.rounds.cells import Cell, grid, rounds_of, shrunk
from bench.rounds.page import rounds_page, rounds_plot
from bench.rounds.prepare import prepare
from bench.rounds.process import run_cell
from bench.rounds.report import Task
from bench.rounds.work import load_work, reference_adapter

__all__ = ["Bench", "check_equal_work", "difference", "main", "measure"]

CLIP_NORM, NOISE_MULTIPLIER = 1.0, 1.0
TOLERANCE = 1e-5
# Clients and rounds of the comparison: one client's own updates, and an average. The second round begins at an adapter
# of which no half is zero. The clip norm is above every update's, for not all frameworks clip without noise.
CHECKS, CHECK_CLIP_NORM = ((1, 2), (4, 2)), 100.0
# As `fl_core.host_memory` sets for Sotto.
_KEEP_FREED = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1), "MALLOC_TOP_PAD_": str(64 * 2**20)}
_QUIET = {"FLWR_TELEMETRY_ENABLED": "0", "RAY_USAGE_STATS_ENABLED": "0", "HF_HUB_OFFLINE": "1"}


@dataclass
class Bench:
    """Where things are, and which works have been prepared.

    Attributes:
        scratch: folder for everything that is deleted at the end.
        pythons: interpreter of each framework that is there.
        cores: that a cell may use.
        timeout_s: of one cell.
        most: clients with records, by work.
        prepared: folders of works.
    """

    scratch: Path
    pythons: dict[str, str]
    cores: int
    timeout_s: float
    most: dict[str, int]
    prepared: dict[tuple[str, str, int], Path] = field(default_factory=dict)

    def work(self, cell: Cell) -> Path:
        """The folder of a cell's work, made when it is first asked for."""
        key = cell.work, cell.inputs, cell.rank
        if key not in self.prepared:
            folder = self.scratch / "-".join(map(str, key))
            folder.mkdir()
            prepare(folder, *key, self.most[cell.work], lambda text: say(f"{folder.name}: {text}"))
            self.prepared[key] = folder
        return self.prepared[key]

    def run(self, cell: Cell, clients: int, rounds: int, clip_norm: float, save: Path | None = None) -> dict[str, Any]:
        """One process of a framework (see `bench.rounds.process.run_cell`)."""
        processes = self.cores if cell.framework in ("pfl-processes", "flower", "sotto-workers") else 1
        threads = self.cores if processes == 1 else 1
        task = Task(
            self.work(cell), clients, rounds, cell.privacy, cell.parties, clip_norm, NOISE_MULTIPLIER, threads,
            processes, save,
        )  # fmt: skip
        command = [self.pythons[cell.framework]]
        if cell.framework == "pfl-processes":
            command += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        command += ["-m", f"bench.rounds.{cell.framework.partition('-')[0]}", task.to_json()]
        variables = {**_QUIET, "OMP_NUM_THREADS": str(threads)}
        place = ROOT
        if not cell.framework.startswith("sotto"):
            place = self._peers_place()
            variables |= {"PYTHONPATH": "", **_KEEP_FREED}
        return run_cell(command, variables, place, self.timeout_s)

    def _peers_place(self) -> Path:
        """A folder with `bench` and nothing else of this repository, which peers could take for packages of theirs."""
        place = self.scratch / "peers"
        if not place.exists():
            place.mkdir()
            (place / "bench").symlink_to(ROOT / "bench")
        return place


def difference(found: Any, expected: Any) -> float:
    """The largest difference of two adapters' coordinates; infinite if there is no comparing them."""
    if found is None or np.shape(found) != np.shape(expected) or not np.isfinite(found).all():
        return float("inf")
    return float(np.abs(np.asarray(found, dtype=np.float64) - expected).max())


def check_equal_work(bench: Bench, cell: Cell) -> dict[str, Any]:
    """Compare a framework's adapters without noise with plain PyTorch's, for the work of a cell.

    Returns:
        The largest difference over all `CHECKS` that the framework can run, how far the adapter moved, and whether the
        two agree; `not_run` if it never came to an adapter.
    """
    plain = Cell(cell.work, cell.clients, cell.framework, inputs=cell.inputs, rank=cell.rank)
    row: dict[str, Any] = {"work": cell.work, "inputs": cell.inputs, "framework": cell.framework, "checks": []}
    work = load_work(bench.work(plain))
    for clients, rounds in CHECKS:
        if cell.framework.endswith(("-processes", "-workers")) and clients < bench.cores:
            continue  # a process without a client would wait for ever
        save = bench.scratch / "adapter-found.npy"
        save.unlink(missing_ok=True)
        result = bench.run(plain, clients, rounds, CHECK_CLIP_NORM, save)
        if "not_run" in result:
            return row | {"not_run": result["not_run"], "equal": False}
        expected = reference_adapter(work, clients, rounds).numpy()
        row["checks"].append(
            {
                "clients": clients,
                "rounds": rounds,
                "difference": difference(np.load(save) if save.exists() else None, expected),
                "moved": difference(work.adapter().numpy(), expected),
            }
        )
    worst = max((check["difference"] for check in row["checks"]), default=float("inf"))
    return row | {"difference": worst, "equal": worst <= TOLERANCE}


def measure(bench: Bench, cell: Cell) -> dict[str, Any]:
    """One run of a cell: seconds of its counted rounds, the first round's apart, and its memory."""
    load_before = os.getloadavg()[0]
    result = bench.run(cell, cell.clients, 1 + rounds_of(cell), CLIP_NORM)
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
        bench = Bench(Path(scratch), pythons, cores, options.timeout, most)
        for number in range(options.repeat):
            for cell in cells:
                if _add(bench, cell, part, number):
                    store(path, part)
        _count_arithmetic(bench, cells, part)
    store(path, part)
    path.with_suffix(".md").write_text(rounds_page(part))
    if any(run["seconds"] for row in part["rows"] for run in row["runs"]):
        rounds_plot(part, path.with_suffix(".png"))
    return 0


def _add(bench: Bench, cell: Cell, part: dict[str, Any], number: int) -> bool:
    """Run a cell unless it has been run `number + 1` times or ran out of time; whether anything was added."""
    row = next((row for row in part["rows"] if row["name"] == cell.name), None)
    if row is not None:
        row["runs"] = [run for run in row["runs"] if run["seconds"] or "more than" in run.get("not_run", "")]
        if len(row["runs"]) > number:
            return False
    check = _checked(bench, cell, part)
    why = check.get("not_run") or f"its local work differs from plain PyTorch's by {check['difference']:.1e}"
    run = measure(bench, cell) if check["equal"] else {"seconds": [], "peak_mib": 0.0, "load": 0.0, "not_run": why}
    if row is None:
        row = {**cell.fields, "guarantee": cell.guarantee, "runs": []}
        part["rows"].append(row)
    row["runs"].append(run)
    print(json.dumps({"name": cell.name, **run}), flush=True)
    return True


def _checked(bench: Bench, cell: Cell, part: dict[str, Any]) -> dict[str, Any]:
    """The comparison for a cell's framework and work, made once; one that could not run is tried again."""
    key = {"work": cell.work, "inputs": cell.inputs, "framework": cell.framework}
    for row in part["equal_work"]:
        if key.items() <= row.items() and "not_run" not in row:
            return dict(row)
    part["equal_work"] = [row for row in part["equal_work"] if not key.items() <= row.items()]
    found = check_equal_work(bench, cell)
    part["equal_work"].append(found)
    print(json.dumps(found), flush=True)
    return found


def _count_arithmetic(bench: Bench, cells: list[Cell], part: dict[str, Any]) -> None:
    """Count each measured work's operations once, beside this machine's rate."""
    for cell in cells:
        key = {"work": cell.work, "inputs": cell.inputs, "rank": cell.rank}
        if not any(key.items() <= row.items() for row in part["arithmetic"]):
            part["arithmetic"].append(arithmetic_of(load_work(bench.work(cell))))


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
