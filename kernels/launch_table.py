"""Launch configurations: one table, keyed by kernel, architecture and rank; no autotuning.

An autotuner runs a kernel several times; one that adds noise or accumulates must run exactly once. So every size
is fixed here, per architecture, and chosen by looking up, never by measuring at run time.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

__all__ = ["Launch", "architecture", "launch"]


@dataclass(frozen=True)
class Launch:
    """Sizes of one launch.

    Attributes:
        block: elements (or rows, or features) that one program owns; powers of two.
        inner: elements of the loop inside a program, if it has one.
        num_warps: warps per program.
        num_stages: software pipeline depth.
    """

    block: int
    inner: int = 0
    num_warps: int = 4
    num_stages: int = 2


# (kernel, architecture or "any", largest rank it is for, or 0 for kernels without a rank) -> Launch
_TABLE: dict[tuple[str, str, int], Launch] = {
    ("chacha", "any", 0): Launch(block=128),
    ("gaussian", "any", 0): Launch(block=128),
    ("lora_grad", "any", 4): Launch(block=256, inner=32),
    ("lora_grad", "any", 16): Launch(block=128, inner=32),
    ("lora_grad", "any", 64): Launch(block=64, inner=32, num_warps=8),
    ("lora_grad", "any", 256): Launch(block=32, inner=16, num_warps=8),
    ("clip_factor", "any", 0): Launch(block=1024),
    ("integer_square", "any", 0): Launch(block=1024),
    ("clip_sum", "any", 0): Launch(block=128),
    ("clip_sum_integer", "any", 0): Launch(block=512),
    ("ring_encode", "any", 0): Launch(block=64),
    ("cross_entropy", "any", 0): Launch(block=4096, num_warps=8),
}


def architecture(device: torch.device) -> str:
    """The table's name of a device's architecture; the nearest older one for those without rows of their own."""
    if device.type != "cuda":
        return "any"
    if torch.version.hip:
        return "gfx942"
    return "sm_90" if torch.cuda.get_device_capability(device)[0] >= 9 else "sm_80"


def launch(kernel: str, arch: str, rank: int = 0) -> Launch:
    """The fixed configuration of `kernel` on `arch` for adapters of `rank`.

    Raises:
        KeyError: if the table has no row; larger ranks than the largest row use that row.
    """
    for name in (arch, "any"):
        ranks = sorted(r for k, a, r in _TABLE if k == kernel and a == name)
        if ranks:
            return _TABLE[kernel, name, next((r for r in ranks if r >= rank), ranks[-1])]
    raise KeyError(f"no launch configuration for kernel {kernel!r}")
