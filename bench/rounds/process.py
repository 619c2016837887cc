"""One cell in a process of its own: its reports line by line, the memory of all its processes, an end in time.

A cell prints one JSON object a line: `{"round": k, "seconds": s}` after every round, and `{"done": ...}` at the end.
Needs Linux. It ends only what descends from the process that it started.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.child import last_error, not_started
from bench.processes import descendants, proportional_mib

__all__ = ["run_cell"]

_EVERY_S = 0.25


def run_cell(command: Sequence[str], variables: Mapping[str, str], place: Path, timeout_s: float) -> dict[str, Any]:
    """Run a cell to its end or the time limit.

    Args:
        command: the cell's.
        variables: of its environment, beside this process's own.
        place: the folder that it runs in, from which it imports `bench`.
        timeout_s: after which it is ended; rounds that were done by then are kept.

    Returns:
        `seconds` of every round, `peak_mib` and `done` (what the cell said last), or why it was `cut` or `not_run`.
    """
    lines: list[dict[str, Any]] = []
    with tempfile.TemporaryFile("w+") as errors:
        try:
            process = subprocess.Popen(
                command,
                cwd=place,
                env={**os.environ, **variables},
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        except OSError as error:
            return {"seconds": [], "peak_mib": 0.0, "not_run": not_started(command, error)}
        reader = threading.Thread(target=_read, args=(process, lines))
        reader.start()
        try:
            peak, in_time = _watch(process, timeout_s)
        finally:
            for pid in descendants(process.pid) if process.poll() is None else []:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()
            reader.join(timeout=10)
        errors.seek(0)
        said = errors.read()
    result: dict[str, Any] = {"seconds": [line["seconds"] for line in lines if "round" in line], "peak_mib": peak}
    done = next((line["done"] for line in lines if "done" in line), None)
    if done is not None:
        return result | {"done": done}
    why = f"more than {timeout_s:.0f} s" if not in_time else last_error(said) or f"exit code {process.returncode}"
    return result | ({"cut": why} if len(result["seconds"]) > 1 and not in_time else {"not_run": why})


def _read(process: subprocess.Popen[str], lines: list[dict[str, Any]]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("{"):
            with contextlib.suppress(json.JSONDecodeError):
                lines.append(json.loads(line))


def _watch(process: subprocess.Popen[str], timeout_s: float) -> tuple[float, bool]:
    """The largest sum of memory seen, and whether the process ended by itself."""
    ends, peak = time.monotonic() + timeout_s, 0.0
    while process.poll() is None:
        if time.monotonic() > ends:
            return peak, False
        peak = max(peak, sum(map(proportional_mib, descendants(process.pid))))
        time.sleep(_EVERY_S)
    return peak, True
