"""How long the rest takes, from how long the steps of this session took."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["TimeLeft", "in_words"]


class TimeLeft:
    """Estimates from the steps since the first: the first also loads and prepares, and a resumed run begins late.

    Args:
        steps: how many there are.
        clock: seconds that only grow.
    """

    def __init__(self, steps: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._steps, self._clock = steps, clock
        self._first: tuple[int, float] | None = None

    def after(self, step: int) -> float | None:
        """Seconds left after `step`; None while too few steps are done to tell."""
        now = self._clock()
        if step >= self._steps:
            return 0.0
        if self._first is None or step <= self._first[0]:
            self._first = (step, now)
            return None
        done, began = self._first
        return (now - began) / (step - done) * (self._steps - step)


def in_words(seconds: float) -> str:
    """A time to wait: "8 s", "12 min", "3 h 20 min"; rounded up, for it is an estimate."""
    whole = int(seconds) + (seconds > int(seconds))
    if whole < 100:
        return f"{whole} s"
    minutes = -(-whole // 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
