"""What is to be computed once: frozen weights, a place in the network, records; and a name for exactly that.

Two works have one name only if they give the same bits: the name covers weights, architecture, place, records and what
decides rounding. It holds no results.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import prod

import numpy as np
import torch
from torch import Tensor

__all__ = ["FrozenWork"]

_FORMAT = 1  # raise when the same work gives other results


@dataclass(frozen=True)
class FrozenWork:
    """A function of frozen weights, and the records it is computed of.

    Attributes:
        what: in words, such as `the frozen blocks`.
        records: in words, such as `sequences`.
        weights: digest of the frozen weights.
        place: architecture and position in it; everything but weights and data that decides the function.
        data: records on the CPU, `[n, ...]`.
        row: shape of one record's result, which is float32.
        at_once: records that are computed together: it decides rounding, so it is part of the name.
        device: where it is computed.
        compute: `[b, ...] -> [b, *row]`, from the CPU to any device.
    """

    what: str
    records: str
    weights: str
    place: str
    data: Tensor = field(repr=False)
    row: tuple[int, ...]
    at_once: int
    device: torch.device
    compute: Callable[[Tensor], Tensor]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of all results, `[n, *row]`."""
        return (len(self.data), *self.row)

    @property
    def bytes(self) -> int:
        """Of all results."""
        return prod(self.shape) * np.dtype(np.float32).itemsize

    def name(self) -> str:
        """SHA-256 (hex) of everything that decides a bit of the results."""
        data = self.data.contiguous()
        identity = {
            "format": _FORMAT,
            "weights": self.weights,
            "place": self.place,
            "data": hashlib.sha256(data.numpy().data).hexdigest(),
            "data_kind": f"{data.dtype} {tuple(data.shape)}",
            "results": f"float32 {self.shape}",
            "at_once": self.at_once,
            "torch": torch.__version__,
            "machine": _arithmetic(self.device),
        }
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

    def results(self, say: Callable[[str], None]) -> Iterator[Tensor]:
        """All results in order, float32 on the CPU, `at_once` records at a time; `say` is told how far it is."""
        for start in range(0, len(self.data), self.at_once):
            say(f"computing {self.what}: {start:,} of {len(self.data):,} {self.records}")
            yield self.compute(self.data[start : start + self.at_once]).to("cpu", torch.float32).contiguous()


def _arithmetic(device: torch.device) -> str:
    """What of the machine decides rounding, in words."""
    if device.type == "cpu":
        return f"cpu {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"
    return f"{torch.cuda.get_device_name(device)}, {torch.get_float32_matmul_precision()} precision"
