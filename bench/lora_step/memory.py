"""Peak memory of a method's training step, in a process of its own: `python -m bench.lora_step.memory METHOD CELL`.

A cell is B,T,r,TARGETS; the model has DistilGPT2's shape.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch

from bench.child import ChildFailed, result_of
from bench.lora_step.methods import step_methods
from bench.lora_step.shapes import DISTILGPT2, Cell, cell_of
from bench.processes import resident_mib

__all__ = ["memory_of"]

_TIMEOUT_S = 900.0


def memory_of(method: str, cell: Cell) -> dict[str, Any]:
    """Resident MiB before the first step and at most, of a fresh process that makes two steps of a method.

    The result has "error" instead if the process failed.
    """
    command = [sys.executable, "-m", "bench.lora_step.memory", method, ",".join(map(str, cell.row.values()))]
    try:
        return result_of(command, _TIMEOUT_S)
    except ChildFailed as failed:
        return {"error": str(failed)}


def main() -> int:
    """Prints one line of JSON."""
    torch.set_num_threads(2)
    name, cell = sys.argv[1], cell_of(sys.argv[2])
    step = step_methods(DISTILGPT2, cell, (name,))[name]
    before = resident_mib("VmRSS")
    step()
    step()
    print(json.dumps({"before": before, "peak": resident_mib("VmHWM")}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
