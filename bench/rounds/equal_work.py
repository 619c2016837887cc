"""Whether a framework does the work that is timed: its adapter after rounds without noise, beside plain PyTorch's."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.records import Row
from bench.rounds.cells import Cell
from bench.rounds.runner import CellRunner
from bench.rounds.work import load_work, reference_adapter

__all__ = ["TOLERANCE", "check_equal_work", "difference"]

TOLERANCE = 1e-5
# Clients and rounds of the comparison: one client's own updates, and an average. The second round begins at an adapter
# of which no half is zero. The clip norm is above every update's, for not all frameworks clip without noise.
_CHECKS, _CLIP_NORM = ((1, 2), (4, 2)), 100.0


def check_equal_work(runner: CellRunner, cell: Cell) -> Row:
    """Compare a framework's adapters without noise with plain PyTorch's, for the work of a cell.

    Returns:
        The largest difference over all checks that the framework can run, how far the adapter moved, and whether the
        two agree; `not_run` if it never came to an adapter.
    """
    plain = Cell(cell.work, cell.clients, cell.framework, inputs=cell.inputs, rank=cell.rank)
    row: Row = {"work": cell.work, "inputs": cell.inputs, "framework": cell.framework, "checks": []}
    work = load_work(runner.work(plain))
    for clients, rounds in _CHECKS:
        if cell.framework.endswith(("-processes", "-workers")) and clients < runner.cores:
            continue  # a process without a client would wait for ever
        save = runner.scratch / "adapter-found.npy"
        save.unlink(missing_ok=True)
        result = runner.run(plain, clients, rounds, _CLIP_NORM, save)
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


def difference(found: Any, expected: Any) -> float:
    """The largest difference of two adapters' coordinates; infinite if there is no comparing them."""
    if found is None or np.shape(found) != np.shape(expected) or not np.isfinite(found).all():
        return float("inf")
    return float(np.abs(np.asarray(found, dtype=np.float64) - expected).max())
