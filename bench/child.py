"""A measurement in a process of its own, which tells what it found as a line of JSON at the end."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from typing import Any

from bench.places import ROOT

__all__ = ["ChildFailed", "last_error", "not_started", "result_of"]


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
    except OSError as error:
        raise ChildFailed(not_started(command, error)) from None
    if done.returncode:
        raise ChildFailed(last_error(done.stderr) or f"exit code {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def not_started(command: Sequence[str], error: OSError) -> str:
    """Why there is no process: an interpreter that is not there, most often."""
    return f"{command[0]} cannot be started: {error.strerror}"


def last_error(said: str) -> str:
    """Of what a process said on standard error the last line that names an error, or else the last one."""
    lines = said.strip().splitlines()
    named = [line for line in lines if line.partition(":")[0].endswith(("Error", "Exception", "Exit"))]
    return (named or lines or [""])[-1][:200]
