"""Everything that needs a GPU, in one command of under eight minutes: `python -m bench.gpu --out DIR`.

Correctness first (gradients, sums, noise and ring encoding against float64 and against the CPU, bit for bit where that
is promised), then speed: the isolated stage, operations and launches a step, peak memory, whole steps, the per-sample
kernel's bytes a second beside the device's own copy, CUDA-graph replay, ChaCha20 against Philox, and 10^9 normals.
Every section has a share of the time and is written when it ends. `--device cpu --quick` tries the script itself.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from bench import gaussian_tails
from bench.command import parser_of, say
from bench.gpu import checks
from bench.gpu.page import gpu_page
from bench.lora_step.methods import known_steps, stage_methods, step_methods
from bench.lora_step.shapes import DISTILGPT2, GRID, LLAMA_8B, TINY, Cell, Shape
from bench.measure import Operations, device_events, environment, kernel_seconds, round_robin
from bench.records import store
from kernels.gaussian import gaussian_noise
from kernels.lora_grad import lora_pair_grads

Section = Callable[["Session"], Any]
ADAPTERS = ((4, "c_attn"), (16, "all"))  # ranks and targets of the adapters where not the whole grid is measured


class Session:
    """What sections share: device, shape, and how long each may still take."""

    def __init__(self, device: str, quick: bool, seconds: float) -> None:
        self.device, self.quick = device, quick
        self.shape: Shape = TINY if quick else DISTILGPT2
        self.cells = [Cell(2, 8, 4, "c_attn"), Cell(4, 8, 4, "all")] if quick else GRID
        self.end = time.perf_counter() + seconds
        self.section_end = self.end

    def within(self, share: float) -> None:
        """Give the section that begins now this share of what is left."""
        now = time.perf_counter()
        self.section_end = now + max(0.0, self.end - now) * share

    def late(self) -> bool:
        """Whether the section's time is over."""
        return time.perf_counter() > self.section_end


def stage(session: Session) -> list[dict[str, Any]]:
    """Times of the isolated stage."""
    rows = []
    for cell in session.cells:
        if session.late():
            break
        methods = stage_methods(session.shape, cell, session.device)
        rows.append(cell.row | {"methods": round_robin(methods, 20, session.device, limit_s=3.0)})
    return rows


def step(session: Session) -> list[dict[str, Any]]:
    """Times of the whole step, in float32 and bfloat16."""
    chosen = [cell for cell in GRID if (cell.rank, cell.targets) in ADAPTERS]
    rows = []
    for dtype in (torch.float32, torch.bfloat16):
        for cell in session.cells if session.quick else chosen:
            if session.late():
                return rows
            names = sorted(_steps(), key=lambda name: name != "non-private fused")  # the peer of ratios comes first
            methods = step_methods(session.shape, cell, tuple(names), session.device, dtype)
            rows.append(
                cell.row
                | {"dtype": str(dtype).removeprefix("torch."), "methods": round_robin(methods, 10, session.device)}
            )
    return rows


def launches(session: Session) -> list[dict[str, Any]]:
    """Operations, kernel launches and peak device memory of one step."""
    rows = []
    chosen = [Cell(16, tokens, *adapter) for tokens in (128, 512) for adapter in ADAPTERS]
    for cell in session.cells if session.quick else chosen:
        counts: dict[str, Any] = {}
        for name in _steps():
            if session.late():
                return rows
            method = step_methods(session.shape, cell, (name,), session.device)[name]
            method()
            method()
            with Operations() as counted:
                method()
            counts[name] = {"operations": counted.count} | (_on_device(method) if session.device == "cuda" else {})
            del method
        rows.append(cell.row | {"methods": counts})
    return rows


def _steps() -> tuple[str, ...]:
    """Methods of which whole steps are measured."""
    return tuple(name for name in known_steps() if name != "sotto plain loss")


def _on_device(method: Callable[[], object]) -> dict[str, float]:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    method()
    torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated()
    return {"launches": len(device_events(method)), "before_mib": before / 2**20, "peak_mib": peak / 2**20}


def bandwidth(session: Session) -> list[dict[str, Any]]:
    """Bytes a second of the per-sample kernel on layers of an 8B model and of DistilGPT2, beside a plain copy's."""
    copied = _copy_rate(session)
    pairs = [(64, 32)] if session.quick else [*LLAMA_8B, (768, 2304), (3072, 768)]
    rows = []
    for dtype in (torch.bfloat16, torch.float32):
        for d_in, d_out in pairs:
            for rank in (4, 16, 64):
                for batch, tokens in ((16, 128), (8, 512)):
                    if session.late():
                        return rows
                    x, u, h, g = (
                        torch.randn(batch, tokens, w, device=session.device, dtype=dtype)
                        for w in (d_in, rank, rank, d_out)
                    )
                    run = checks.pair_kernel(x, u, h, g)
                    peer = partial(lora_pair_grads, x, u, h, g, 1.0, torch.float32)
                    seconds = kernel_seconds(run, "_lora_grad_kernel", session.device)
                    moved = sum(t.nbytes for t in (x, u, h, g)) + 4 * batch * rank * (d_in + d_out)
                    rows.append(
                        {"dtype": str(dtype), "d_in": d_in, "d_out": d_out, "rank": rank, "batch": batch}
                        | {"tokens": tokens, "seconds": seconds}
                        | {"bmm_seconds": kernel_seconds(peer, "", session.device)}
                        | {"bytes_per_s": moved / seconds, "copy_bytes_per_s": copied}
                        | {"of_copy": moved / seconds / copied}
                    )
    return rows


def _copy_rate(session: Session) -> float:
    """Bytes read and written a second by a plain copy."""
    source = torch.zeros(2**20 if session.quick else 2**28, device=session.device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / round_robin({"": lambda: target.copy_(source)}, 20, session.device)[""]["seconds"]


def gaussian(session: Session) -> list[dict[str, Any]]:
    """ChaCha20 normals against Philox ones and PyTorch's own."""
    rows = []
    for count in (73_728, 1_179_648, 100_000_000):
        if session.late() or (session.quick and count > 2e6):
            break
        methods: dict[str, Callable[[], object]] = {}
        if session.device == "cuda":
            from kernels.gpu.gaussian import philox_gaussian_noise

            methods["philox"] = lambda n=count: philox_gaussian_noise(n, 1, "cuda")
        methods["torch.randn"] = lambda n=count: torch.randn(n, device=session.device)
        methods["chacha20"] = lambda n=count: gaussian_noise(n, bytes(32), bytes(12), session.device)
        rows.append({"count": count, "methods": round_robin(methods, 20, session.device)})
    return rows


def tails(session: Session) -> dict[str, Any]:
    """Kolmogorov-Smirnov and tails of 10^9 normals."""
    return gaussian_tails.examine(10**6 if session.quick else 10**9, 0, 1, session.device)


SECTIONS: dict[str, tuple[Section, float]] = {
    "correctness": (lambda session: checks.correctness(session.device), 1.0),
    "bandwidth": (bandwidth, 0.2),
    "gaussian": (gaussian, 0.2),
    "graph": (lambda session: checks.graph_replay(session.device, session.shape), 0.2),
    "launches": (launches, 0.3),
    "stage": (stage, 0.4),
    "step": (step, 0.7),
    "tails": (tails, 1.0),
}


def main(arguments: list[str] | None = None) -> int:
    """Command line; exit code 1 if a correctness check fails."""
    parser = parser_of("gpu", __doc__, "gpu.json and gpu.md")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="a tiny model and few cells")
    parser.add_argument("--seconds", type=float, default=440.0, help="for all sections together")
    parser.add_argument("--only", nargs="+", choices=tuple(SECTIONS), help="sections (default: all)")
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        say("no CUDA device here; --device cpu --quick runs the script without one")
        return 2
    warnings.filterwarnings("ignore")
    torch.backends.cuda.matmul.allow_tf32 = False
    options.out.mkdir(parents=True, exist_ok=True)
    session = Session(options.device, options.quick, options.seconds)
    report: dict[str, Any] = {"environment": environment(options.device), "quick": options.quick, "seconds": {}}
    for name in options.only or SECTIONS:
        section, share = SECTIONS[name]
        session.within(share)
        started = time.perf_counter()
        say(name)
        try:
            report[name] = section(session)
        except Exception as error:
            report[name] = {"error": f"{type(error).__name__}: {error}"[:500]}
        report["seconds"][name] = time.perf_counter() - started
        store(options.out / "gpu.json", report)
    (options.out / "gpu.md").write_text(gpu_page(report))
    found = report.get("correctness", [])
    return int(not isinstance(found, list) or any(not check["holds"] for check in found))


if __name__ == "__main__":
    sys.exit(main())
