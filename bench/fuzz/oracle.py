"""What a try of `bench.fuzz` is, and what it may end in: a refusal in a sentence, or a value that is right.

Takes a surface (how to draw an input, which reader of the product reads it, what may be accepted); gives an outcome.
Anything else is a violation: another exception, a sentence that is none, a value that is wrong, memory beyond the
bound. Time is watched from outside, by `bench.fuzz.children`.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from secagg.errors import SottoError

__all__ = ["ROOM", "Limits", "Meter", "Outcome", "Surface", "try_one"]

ROOM = 64 * 2**20  # resident bytes that a try may need above its input's size
_LONGEST_SENTENCE = 800  # characters; the longest honest ones list a section's allowed keys


@dataclass(frozen=True)
class Limits:
    """What a try may take.

    Attributes:
        seconds: until it counts as hung.
        room: resident bytes above the input's size.
        address_room: bytes of address space above the process's, beyond which an allocation fails.
    """

    seconds: float = 30.0
    room: int = ROOM
    address_room: int = 2**30


def _never_wrong(case: Any, found: Any) -> str | None:
    return None


@dataclass(frozen=True)
class Surface:
    """One reader of the product, and inputs for it.

    Attributes:
        what: in words, for the table.
        draw: an input: bytes, or what `read` takes.
        read: has the product read an input; gives what it accepted.
        wrong: a sentence if what was accepted for an input must not be; nothing is ever wrong by default.
        refusals: errors that refuse.
        places: words of which a refusal's sentence has at least one, such as the file's name; empty: any sentence.
        tries: in a whole run.
        limits: of a try.
    """

    what: str
    draw: Callable[[random.Random], Any]
    read: Callable[[Any], Any]
    wrong: Callable[[Any, Any], str | None] = _never_wrong
    refusals: tuple[type[BaseException], ...] = (SottoError,)
    places: tuple[str, ...] = ()
    tries: int = 10_000
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Outcome:
    """How a try ended.

    Attributes:
        refused: in a sentence; else the input was accepted.
        violation: what was wrong, in words; None if nothing was.
        peak: resident bytes above those before.
        seconds: of this process's time.
    """

    refused: bool
    violation: str | None
    peak: int
    seconds: float


class Meter:
    """The highest resident memory of this process since `reset`, from Linux."""

    def __init__(self) -> None:
        self._reset: IO[bytes] = open("/proc/self/clear_refs", "wb", buffering=0)  # noqa: SIM115 (one for all tries)
        self._status: IO[bytes] = open("/proc/self/status", "rb", buffering=0)  # noqa: SIM115
        self._before = 0

    def reset(self) -> None:
        """Begin again."""
        self._reset.write(b"5")
        self._before = self._highest()

    def peak(self) -> int:
        """Bytes above those at `reset`."""
        return max(0, self._highest() - self._before)

    def _highest(self) -> int:
        text = os.pread(self._status.fileno(), 4096, 0)
        return int(text.partition(b"VmHWM:")[2].split(None, 1)[0]) * 1024


def try_one(surface: Surface, case: Any, meter: Meter) -> Outcome:
    """Have the surface read one input and judge what comes of it."""
    meter.reset()
    started = time.process_time()
    refused, violation, found = False, None, None
    try:
        found = surface.read(case)
    except surface.refusals as error:
        refused, violation = True, _fault_of(error, surface.places)
    except BaseException as error:  # a Rust panic, an exit and a KeyboardInterrupt are no sentences either
        violation = _said(error)
    seconds, peak = time.process_time() - started, meter.peak()
    if violation is None and not refused:
        try:
            violation = surface.wrong(case, found)
        except Exception as error:
            violation = f"what was accepted cannot be used: {_said(error)}"
    if violation is None and peak > surface.limits.room + _size(case):
        violation = f"{peak / 2**20:.0f} MiB were needed for an input of {_size(case):,} bytes"
    return Outcome(refused, violation, peak, seconds)


def _said(error: BaseException) -> str:
    """An exception and where it came from."""
    where = error.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    line = "" if where is None else f" at {Path(where.tb_frame.f_code.co_filename).name}:{where.tb_lineno}"
    return f"{type(error).__name__}: {str(error)[:200]}{line}"


def _fault_of(error: BaseException, places: tuple[str, ...]) -> str | None:
    """Why the sentence of a refusal is none."""
    text = str(error)
    if not isinstance(error, SottoError):
        return None  # one that the product's callers turn into sentences of their own
    if not text.strip():
        return f"a {type(error).__name__} without a sentence"
    if not text.isprintable():
        return f"a sentence with a character that may not be printed: {text[:200]!r}"
    if len(text) > _LONGEST_SENTENCE:
        return f"a sentence of {len(text)} characters: {text[:200]!r}"
    if places and not any(place in text for place in places):
        return f"a sentence that names no place: {text[:200]!r}"
    return None


def _size(case: Any) -> int:
    if isinstance(case, bytes | str):
        return len(case)
    if isinstance(case, dict):
        return sum(map(_size, case.values()))
    return sum(map(_size, case)) if isinstance(case, list | tuple) else 0
