"""A measurement in a process of its own, which tells what it found as a line of JSON at the end."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from typing import Any

from bench.places import ROOT

__all__ = ["ChildFailed", "result_of"]


class ChildFailed(Exception):
    """The process gave no result; says why in a few words."""


def result_of(command: Sequence[str], timeout_s: float | None = None) -> dict[str, Any]:
    """Run a command in the repository's folder; the JSON object that is its last line.

    Raises:
        ChildFailed: if it takes longer, or ends with an error.
    """
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        raise ChildFailed(f"more than {timeout_s:.0f} s") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise ChildFailed(lines[-1][:200] if lines else f"exit code {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
