"""A kernel specialised for one use, as it is compiled ahead of time without a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Variant"]


@dataclass(frozen=True)
class Variant:
    """What ahead-of-time compilation needs to know of one specialisation.

    Attributes:
        name: unique, such as "lora_grad bf16 r=16".
        kernel: the `@triton.jit` function.
        signature: type of every run-time argument in Triton's spelling ("*fp32", "i64", "fp32").
        constants: value of every `constexpr` argument.
        num_warps: warps per program.
        num_stages: software pipeline depth.
        unaligned: pointers that need not be multiples of 16 bytes.
    """

    name: str
    kernel: Any
    signature: Mapping[str, str]
    constants: Mapping[str, Any] = field(default_factory=dict)
    num_warps: int = 4
    num_stages: int = 2
    unaligned: tuple[str, ...] = ()

    @property
    def aligned(self) -> list[str]:
        """Pointers that launches can rely on to be multiples of 16 bytes."""
        return [name for name, kind in self.signature.items() if kind.startswith("*") and name not in self.unaligned]
