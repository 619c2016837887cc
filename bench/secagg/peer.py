"""Flower's SecAgg+ measured in an interpreter of its own, because its pins exclude ours."""

from __future__ import annotations

import json
from typing import Any

from bench.child import ChildFailed, result_of

__all__ = ["flower_cell"]

# Memory a coordinate in Flower's simulation, measured at 100 clients x 10^5 (9.3 and 107) and rounded up: of every
# client's vector at the server, and of the work on one client's.
_FLOWER_HELD_BYTES, _FLOWER_WORK_BYTES = 10, 120


def flower_cell(python: str, clients: int, length: int, max_gb: float, timeout_s: float) -> dict[str, Any]:
    """Flower's SecAgg+ for as many clients and coordinates: one client's cost, and the round's if memory allows.

    Args:
        python: an interpreter that has flwr.
        clients, length: of the cell.
        max_gb: memory of the simulation, above which only the client is measured.
        timeout_s: of each of the two.
    """
    neighbours = min(clients - 1, 25)  # a small choice for 1,000 clients, which favours Flower
    neighbours -= 1 - neighbours % 2  # Flower wants an odd number
    options = {"parameters": length, "shares": neighbours, "threshold": neighbours * 2 // 3 + 1}
    result: dict[str, Any] = {"neighbours": neighbours}
    needed = _FLOWER_WORK_BYTES * length / 1e9
    reason = f"needs about {needed:.0f} GB"
    result["client"] = {"not_run": reason} if needed > max_gb else _flower(python, "client", options, timeout_s)
    needed = (_FLOWER_HELD_BYTES * clients + _FLOWER_WORK_BYTES) * length / 1e9
    reason = f"its server holds all vectors: about {needed:.0f} GB with the simulated clients"
    options["clients"] = clients
    result["round"] = {"not_run": reason} if needed > max_gb else _flower(python, "round", options, timeout_s)
    return result


def _flower(python: str, what: str, options: dict[str, int], timeout_s: float) -> dict[str, Any]:
    try:
        return result_of([python, "-m", "bench.secagg.flower", what, json.dumps(options)], timeout_s)
    except ChildFailed as failed:
        return {"not_run": str(failed)}
