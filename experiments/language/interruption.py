"""Hold a Ctrl-C back while state changes that a checkpoint must see whole: no step is half-made or made twice."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["interruption_held_back"]


@contextlib.contextmanager
def interruption_held_back() -> Iterator[None]:
    """An interruption during the block is raised at its end: SIGINT as KeyboardInterrupt, SIGTERM by its handler.

    Only the main thread is ever interrupted; in others, and where SIGINT has another handler than Python's own or
    SIGTERM has none, nothing is changed.
    """
    handlers: dict[int, Callable[[int, Any], Any]] = {}
    if threading.current_thread() is threading.main_thread():
        ours, term = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
        if ours is signal.default_int_handler:
            handlers[signal.SIGINT] = signal.default_int_handler
        if callable(term):
            handlers[signal.SIGTERM] = term
    came: list[int] = []
    for number in handlers:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if came:
        handlers[came[0]](came[0], None)
