"""Compilation ahead of time, without a GPU: does every kernel compile for every architecture, and within its registers?

Takes the variants that the kernel modules name; gives what the assembler reports. It launches nothing, and needs a
process in which Triton's interpreter is off.
"""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from kernels.gpu.variant import Variant

__all__ = ["MODULES", "TARGETS", "Resources", "all_variants", "compile_variant"]

MODULES = ("chacha", "clip_sum", "cross_entropy", "gaussian", "lora_grad", "ring_encode")
TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}


@dataclass(frozen=True)
class Resources:
    """What one compiled kernel takes.

    Attributes:
        registers: per thread (vector registers on AMD).
        spilled: bytes of stack and local memory per thread, or spilled vector registers on AMD; 0 means none.
        shared: bytes of shared memory a program asks for.
    """

    registers: int
    spilled: int
    shared: int


def all_variants() -> list[Variant]:
    """The variants of all kernel modules, in order."""
    return [v for name in MODULES for v in importlib.import_module(f"kernels.gpu.{name}").aot_variants()]


def compile_variant(variant: Variant, target: str) -> Resources:
    """Compile one variant for "sm_80", "sm_90" or "gfx942".

    Raises:
        RuntimeError: if Triton's interpreter is on, which replaces the compiler.
    """
    if os.environ.get("TRITON_INTERPRET") == "1":
        raise RuntimeError("compilation ahead of time needs a process without TRITON_INTERPRET")
    names = variant.kernel.arg_names
    source = ASTSource(
        fn=variant.kernel,
        signature={n: "constexpr" if n in variant.constants else variant.signature[n] for n in names},
        constexprs={(names.index(n),): value for n, value in variant.constants.items()},
        # Allocators align to far more than this; views into the flat buffer start at multiples of their own size.
        attrs={(names.index(n),): [["tt.divisibility", 16]] for n in variant.aligned},
    )
    options = {"num_warps": variant.num_warps, "num_stages": variant.num_stages}
    compiled = triton.compile(source, target=TARGETS[target], options=options)
    shared = int(compiled.metadata.shared)
    if "cubin" in compiled.asm:
        usage = _cuda_usage(compiled.asm["cubin"])
        return Resources(usage["REG"], usage["STACK"] + usage["LOCAL"], shared)
    counts = dict(re.findall(r"\.(vgpr_count|vgpr_spill_count):\s+(\d+)", compiled.asm["amdgcn"]))
    return Resources(int(counts["vgpr_count"]), int(counts["vgpr_spill_count"]), shared)


def _cuda_usage(cubin: bytes) -> dict[str, int]:
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        # Triton's own tool, on a file that this process has just written.
        command = [str(tool), "-res-usage", file.name]
        report = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603
    return {name: int(value) for name, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", report)}
