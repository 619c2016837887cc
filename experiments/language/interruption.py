"""Hold a Ctrl-C back while state changes that a checkpoint must see whole: no step is half-made or made twice."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

__all__ = ["interruption_held_back"]


@contextlib.contextmanager
def interruption_held_back() -> Iterator[None]:
    """An interruption (SIGINT) during the block is raised as KeyboardInterrupt at its end.

    Only the main thread is ever interrupted; in others, and where another handler than Python's own is set, nothing
    is changed.
    """
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not ours or threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if came:
        raise KeyboardInterrupt
