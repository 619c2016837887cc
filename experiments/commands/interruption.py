"""What a command that was interrupted leaves in the terminal: how to go on. Ctrl-C and SIGTERM end it alike."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType

import typer

__all__ = ["Terminated", "interrupted", "terminable"]


class Terminated(KeyboardInterrupt):
    """SIGTERM, as `kill` and schedulers send it: ends what is done as Ctrl-C does."""


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM during the block is raised as `Terminated` in this process; not where somebody else handles it."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    own = os.getpid()

    def end(number: int, frame: FrameType | None) -> None:
        if os.getpid() != own:  # a forked child, which ends as if nothing had been set
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
            return
        raise Terminated

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def interrupted(by: KeyboardInterrupt, kept: str, again: Sequence[str]) -> typer.Exit:
    """Prints one sentence with the command to go on, `sotto` followed by `again`; returns the exit to raise."""
    print(f"\ninterrupted; every finished {kept} is kept. To go on: {shlex.join(['sotto', *again])}", file=sys.stderr)
    # What shells report for a process that a signal ended.
    return typer.Exit(128 + (signal.SIGTERM if isinstance(by, Terminated) else signal.SIGINT))
