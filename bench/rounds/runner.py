"""Runs of cells, each in a process of a framework's own interpreter, on works that are made when first asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.command import say
from bench.places import ROOT
from bench.rounds.cells import Cell
from bench.rounds.prepare import prepare
from bench.rounds.process import run_cell
from bench.rounds.report import Task

__all__ = ["NOISE_MULTIPLIER", "CellRunner"]

NOISE_MULTIPLIER = 1.0
# As `fl_core.host_memory` sets for Sotto.
_KEEP_FREED = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1), "MALLOC_TOP_PAD_": str(64 * 2**20)}
_QUIET = {"FLWR_TELEMETRY_ENABLED": "0", "RAY_USAGE_STATS_ENABLED": "0", "HF_HUB_OFFLINE": "1"}


@dataclass
class CellRunner:
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
