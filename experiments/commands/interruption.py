"""What a command that was interrupted leaves in the terminal: how to go on."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence

import typer

__all__ = ["interrupted"]

_BY_CTRL_C = 130  # what shells report for it: 128 + SIGINT


def interrupted(kept: str, again: Sequence[str]) -> typer.Exit:
    """Prints one sentence with the command to go on, `sotto` followed by `again`; returns the exit to raise."""
    print(f"\ninterrupted; every finished {kept} is kept. To go on: {shlex.join(['sotto', *again])}", file=sys.stderr)
    return typer.Exit(_BY_CTRL_C)
