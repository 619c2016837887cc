"""How it is measured: methods take turns in one process, so that whatever else the machine does hits all alike.

Times are medians; ratios are medians of ratios within a round. Operations are counted by PyTorch's dispatcher.
"""

from __future__ import annotations

import datetime
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["Operations", "device_events", "environment", "kernel_seconds", "round_robin"]

# What computes nothing: views, allocation, reading one number.
_FREE = (
    "view", "reshape", "transpose", "permute", "expand", "unsqueeze", "squeeze", "select", "slice", "detach", "alias",
    "t.default", "as_strided", "split", "_unsafe_view", "empty", "new_empty", "unbind", "is_", "size", "_local_scalar",
    "resize", "set_", "lift_fresh",
)  # fmt: skip


def environment(device: str) -> str:
    """Machine and versions in one line."""
    from importlib.metadata import PackageNotFoundError, version

    versions = []
    for name in ("torch", "triton", "transformers", "peft", "opacus"):
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            versions.append(f"{name} absent")
    if device == "cuda":
        where = f"one {torch.cuda.get_device_name()}"
    else:
        where = f"{torch.get_num_threads()} of {os.cpu_count()} CPU cores ({_processor()})"
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return f"{today}, {where}, Python {platform.python_version()}, {', '.join(versions)}"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def round_robin(
    methods: Mapping[str, Callable[[], object]], rounds: int, device: str = "cpu", warmup: int = 2, limit_s: float = 1e9
) -> dict[str, dict[str, float]]:
    """Median seconds of every method, and its median ratio to the first one of the same round.

    Args:
        methods: name to what is timed; the first is the peer of the ratios.
        rounds: measured rounds, at least one, fewer if `limit_s` runs out.
        device: "cuda" waits for the device before the clock is read.
        warmup: rounds before.
        limit_s: seconds after which no further round begins.
    """
    wall: dict[str, list[float]] = {name: [] for name in methods}
    cpu: dict[str, list[float]] = {name: [] for name in methods}
    started = time.perf_counter()
    for index in range(warmup + rounds):
        if index > warmup and time.perf_counter() - started > limit_s:
            break
        for name, method in methods.items():
            _wait(device)
            begin, process = time.perf_counter(), time.process_time()
            method()
            _wait(device)
            if index >= warmup:
                wall[name].append(time.perf_counter() - begin)
                cpu[name].append(time.process_time() - process)
    peer = next(iter(methods))
    return {
        name: {
            "seconds": statistics.median(wall[name]),
            "cpu_seconds": statistics.median(cpu[name]),
            "ratio": statistics.median(a / b for a, b in zip(wall[name], wall[peer], strict=True)),
            "cpu_ratio": statistics.median(a / b for a, b in zip(cpu[name], cpu[peer], strict=True)),
            "least_ratio": min(wall[name]) / min(wall[peer]),
            "rounds": len(wall[name]),
        }
        for name in methods
    }


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def device_events(method: Callable[[], object]) -> list[Any]:
    """The profiler's events on a GPU while `method` runs: kernels, copies and fills."""
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        method()
        torch.cuda.synchronize()
    return [event for event in profiled.events() if event.device_type == DeviceType.CUDA]


def kernel_seconds(method: Callable[[], object], name: str, device: str, runs: int = 20) -> float:
    """Median seconds that a call's kernels with `name` in their names take on the device, with cold caches.

    On a CPU, seconds of the call.
    """
    if device == "cpu":
        return round_robin({"call": method}, runs)["call"]["seconds"]
    flush = torch.empty(2**26, device=device)
    method()
    totals = []
    for _ in range(runs):
        flush.zero_()
        events = device_events(method)
        totals.append(sum(event.time_range.elapsed_us() for event in events if name in event.name) * 1e-6)
    return statistics.median(totals)


class Operations(TorchDispatchMode):
    """Counts operations that compute something: not views, allocations or reading one number."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not func.__name__.startswith(_FREE)
        return func(*args, **(kwargs or {}))
