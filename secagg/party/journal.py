"""A party's journal: what it opened and what it refused, one JSON line each, kept for ever.

An opening is on the disk before `open` returns, so that a party that is started again knows of every sum that any
share of its may have gone into. Each line carries SHA-256 of itself and the line before: a journal that was damaged or
edited is not read. (The chain has no key: lines missing at the end, or a journal written anew, it cannot show.)
Refusals are written for the operator, as many as a party can afford when somebody floods it. Public facts only: names
of rounds, clients, digests of models, times; it must never be given a share, a seed or a key.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import stat
import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

from secagg.errors import SottoError
from secagg.limits import MAX_CLIENTS
from secagg.messages import RoundSpec
from secagg.openings import Openings
from secagg.wire import WireError, ids_of, ranges_of

__all__ = ["Journal", "JournalError"]

logger = logging.getLogger(__name__)

_START = hashlib.sha256(b"sotto party journal, version 1\n").hexdigest()
_CHAIN = ',"chain":"{}"}}\n'
_CHAIN_BYTES = len(_CHAIN.format(_START))
# Refusals: this many at once, later one in so many seconds, each with one line that counts what was left out.
_BURST = 100
_REFILL_S = 60.0
_LONGEST_REASON = 300


class JournalError(SottoError):
    """The journal cannot be read or written, or is in use; the party must not open anything."""


class Journal:
    """The journal of one party, held exclusively until it is closed.

    Args:
        path: the file; made if there is none, readable by its owner alone.
        clock: seconds that only grow.

    Raises:
        JournalError: if another process holds the journal, it cannot be read or written, or a line of it is damaged.
            A torn last line, as a crash leaves it, is cut off: its opening was never answered for.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._clock = path, clock
        self.openings = Openings()
        self._chain, self._broken = _START, False
        self._credit, self._refilled, self._left_out = float(_BURST), clock(), 0
        self._file = -1
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            self._take()
            self._read()
        except OSError as error:
            self._close_file()
            raise JournalError(f"the journal {path} cannot be used: {error.strerror or error}") from None
        except BaseException:
            self._close_file()
            raise

    def open(self, spec: RoundSpec, clients: Collection[int]) -> None:
        """Write down an opening; on return it is on the disk, and what was written cannot be opened again.

        Raises:
            OpeningRefused: if it was opened before.
            JournalError: if it could not be written; the sum must not be opened.
        """
        self.openings.refuse_again(spec)
        self.openings.remember(spec, clients)
        self._write_left_out()
        record = {
            "kind": "opened",
            "run": spec.run,
            "round": spec.round,
            "attempt": spec.attempt,
            "model": spec.model,
            "clients": ranges_of(clients),
        }
        self._write(record, synced=True)

    def refused(self, reason: str, **facts: int | str | None) -> None:
        """Write down a refusal, or in a flood of them only count it; never fails.

        Args:
            reason: one sentence, cut after 300 characters.
            facts: what it was about, such as `round`; None is left out.
        """
        now = self._clock()
        self._credit = min(float(_BURST), self._credit + (now - self._refilled) / _REFILL_S)
        self._refilled = now
        if self._credit < 1:
            self._left_out += 1
            return
        self._credit -= 1
        shown = {name: value[:_LONGEST_REASON] if isinstance(value, str) else value for name, value in facts.items()}
        known = {name: value for name, value in shown.items() if value is not None}
        try:
            self._write_left_out()
            self._write({**known, "kind": "refused", "reason": reason[:_LONGEST_REASON]}, synced=False)
        except JournalError as error:
            logger.error("%s", error)

    def close(self) -> None:
        """Write what is left to write and let go of the file; legal more than once."""
        if self._file < 0:
            return
        try:
            self._write_left_out()
        except JournalError as error:
            logger.error("%s", error)
        finally:
            self._close_file()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take(self) -> None:
        """Hold the file, and see to it that the folder will still name it after a crash."""
        if not stat.S_ISREG(os.fstat(self._file).st_mode):
            raise JournalError(f"the journal {self._path} is no regular file; what is written there would not stay")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JournalError(f"the journal {self._path} is in use by another party; each needs its own") from None
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _read(self) -> None:
        whole = 0
        with open(self._file, "rb", closefd=False) as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith(b"\n"):
                    logger.warning("the journal %s ends in a torn line; it was cut off", self._path)
                    os.ftruncate(self._file, whole)
                    os.fsync(self._file)
                    return
                self._follow(line, number)
                whole += len(line)

    def _follow(self, line: bytes, number: int) -> None:
        """Check one line against the chain and recall the opening in it."""
        body = line[:-_CHAIN_BYTES] + b"}"
        chain = _link(self._chain, body)
        if line[-_CHAIN_BYTES:] != _CHAIN.format(chain).encode():
            self._damaged(number)
        self._chain = chain
        try:
            record = json.loads(body)
            if record["kind"] == "opened":
                names = (record["run"], record["round"], record["attempt"], record["model"])
                if [type(name) for name in names] != [str, int, int, str]:
                    self._damaged(number)
                self.openings.recall(*names, ids_of(record["clients"], MAX_CLIENTS))
        except (ValueError, KeyError, TypeError, RecursionError, WireError):
            self._damaged(number)

    def _damaged(self, number: int) -> NoReturn:
        raise JournalError(
            f"line {number} of the journal {self._path} was damaged or edited; restore the file from a copy: without "
            "it this party cannot know what it opened"
        )

    def _write_left_out(self) -> None:
        if self._left_out:
            left_out, self._left_out = self._left_out, 0
            self._write({"kind": "refused", "reason": f"and {left_out} more"}, synced=False)

    def _write(self, record: dict[str, Any], synced: bool) -> None:
        if self._broken or self._file < 0:
            raise JournalError(f"the journal {self._path} cannot be written to since an error; start the party again")
        timed = {"time": datetime.now(UTC).isoformat(timespec="seconds"), **record}
        body = json.dumps(timed, separators=(",", ":")).encode()
        chain = _link(self._chain, body)
        line = memoryview(body[:-1] + _CHAIN.format(chain).encode())
        try:
            written = 0
            while written < len(line):
                written += os.write(self._file, line[written:])
            if synced:
                os.fsync(self._file)
        except OSError as error:
            # What reached the disk is unknown now, and a retried fsync would not tell; only reading it again does.
            self._broken = True
            raise JournalError(f"the journal {self._path} cannot be written to: {error.strerror or error}") from None
        self._chain = chain

    def _close_file(self) -> None:
        if self._file >= 0:
            os.close(self._file)  # and with it the lock
            self._file = -1


def _link(chain: str, body: bytes) -> str:
    return hashlib.sha256(chain.encode() + body).hexdigest()
