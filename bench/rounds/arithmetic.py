"""What a client's local step costs in multiplications and additions, and what this machine could do at best.

Counts the operations of plain PyTorch's step (`bench.rounds.work.local_step`) in matrix products, convolutions and
attention, and times a large matrix product in float32. Their quotient bounds the clients a second of every framework
that computes each client's gradient in float32; how close one comes is the page's business.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.rounds.work import Work, adapted_model, local_step

__all__ = ["arithmetic_of", "matrix_rate", "operations_of_step"]

_SIDE, _TIMES = 3072, 7


def operations_of_step(work: Work) -> int:
    """Floating-point operations of one client's local step."""
    model, (x, y) = adapted_model(work), work.records(mapped=True)
    with FlopCounterMode(display=False) as counter:
        local_step(model, torch.tensor(x[0]), torch.tensor(y[0]), work.learning_rate)
    return int(counter.get_total_flops())


def matrix_rate() -> float:
    """Operations a second of a large float32 matrix product with the threads that are set: the median of seven."""
    a, b = torch.randn(_SIDE, _SIDE), torch.randn(_SIDE, _SIDE)
    out = a @ b
    seconds = []
    for _ in range(_TIMES):
        start = time.perf_counter()
        torch.mm(a, b, out=out)
        seconds.append(time.perf_counter() - start)
    return 2.0 * _SIDE**3 / statistics.median(seconds)


def arithmetic_of(work: Work) -> dict[str, Any]:
    """One row of `part["arithmetic"]`."""
    return {
        "work": work.kind,
        "inputs": work.inputs,
        "rank": work.rank,
        "operations": operations_of_step(work),
        "rate": matrix_rate(),
    }
