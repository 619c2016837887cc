"""The append-only record of every opened sum, on disk before the sum is opened.

Takes a `LedgerHeader` and `Opening`s; gives a file of chained JSON lines, and reads it back or refuses it.
`append` returns only when the line is on the disk, so a crash can only over-count. One process at a time may
append. A ledger that was changed in any way is never repaired and no line is ever skipped: `LedgerError` names the
file and the line. Only a last line that a cut power left half written is cut off, by `resume`: its `append` never
returned, so nothing was opened.

The chain shows changes and a forgotten tail only to someone who kept a `Head`: whoever can rewrite the file
can also recompute all of its hashes, so checkpoints keep the head and hand it back to `Ledger.resume`.
"""

import contextlib
import fcntl
import logging
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from fl_core.privacy.ledger_entries import LedgerError, LedgerHeader, Opening
from fl_core.privacy.ledger_lines import GENESIS, encode_line, parse_line
from fl_core.privacy.ledger_mending import without_torn_end, write_end
from fl_core.storage import sync_folder

__all__ = ["Head", "Ledger", "LedgerContents", "read_ledger"]

logger = logging.getLogger(__name__)

_TORN = "is torn: it does not end with a newline, as when writing it was cut short"


class Head(NamedTuple):
    """Where a ledger stood: how many lines it had (the header included) and the hash of the last of them."""

    lines: int
    hash: str


@dataclass(frozen=True)
class LedgerContents:
    """A verified ledger."""

    path: Path
    header: LedgerHeader
    openings: tuple[Opening, ...]
    head: Head


def read_ledger(path: str | Path, expected: tuple[int, str] | None = None) -> LedgerContents:
    """Read and verify a whole ledger.

    Args:
        path: the ledger file.
        expected: a `Head` that was kept elsewhere (in a checkpoint); the ledger must contain it, and may go
            on after it, since openings are recorded before the checkpoint that follows them.

    Raises:
        LedgerError: for any line that is changed, reordered, missing or torn, naming the file and the line
            number.
    """
    path = Path(path)
    try:
        # A device or a pipe has no end, or none that comes.
        regular = stat.S_ISREG(path.stat().st_mode)
        content = path.read_bytes() if regular else b""
    except OSError as error:
        raise LedgerError(f"Ledger {path} cannot be read ({error.strerror}).") from None
    except ValueError as error:  # a name that no file has, as from a budget that was changed
        raise LedgerError(f"Ledger {path} cannot be read ({error}).") from None
    if not regular:
        raise LedgerError(f"Ledger {path} cannot be read (it is no regular file).")
    return _verify(path, content, expected)


class Ledger:
    """An open ledger, locked against every other process until `close`.

    Made by `create` or `resume`; usable as a context manager.
    """

    def __init__(self, descriptor: int, contents: LedgerContents, length: int) -> None:
        self._descriptor: int | None = descriptor
        self._path = contents.path
        self._length = length
        self._head = contents.head
        self.header = contents.header

    @classmethod
    def create(cls, path: str | Path, header: LedgerHeader) -> "Ledger":
        """Start a new ledger with its header on disk; raises LedgerError when the file is already there."""
        path = Path(path)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        try:
            descriptor = os.open(path, flags, 0o644)
        except FileExistsError:
            raise LedgerError(f"Ledger {path} already exists; resume its run or choose another folder.") from None
        except OSError as error:
            raise LedgerError(f"Ledger {path} cannot be created ({error.strerror}).") from None
        try:
            _lock(descriptor, path)
            ledger = cls(descriptor, LedgerContents(path, header, (), Head(0, GENESIS)), 0)
            ledger._write(header)
            sync_folder(path.parent)
        except BaseException as error:
            os.close(descriptor)
            with contextlib.suppress(OSError):
                path.unlink()
            if isinstance(error, OSError):
                raise LedgerError(f"Ledger {path} cannot be created ({error.strerror}).") from None
            raise
        return ledger

    @classmethod
    def resume(cls, path: str | Path, expected_head: tuple[int, str] | None = None) -> "Ledger":
        """Open and verify an existing ledger to append to it; see `read_ledger` for `expected_head`.

        A torn last line is cut off, or completed where only its newline is missing; a warning says which.
        """
        path = Path(path)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except OSError as error:
            raise LedgerError(f"Ledger {path} cannot be opened ({error.strerror}).") from None
        try:
            _lock(descriptor, path)
            found = path.read_bytes()
            content, done = without_torn_end(found)
            contents = _verify(path, content, expected_head)
            if content != found:
                write_end(descriptor, content, len(found))
                logger.warning("Ledger %s, line %d: %s", path, content.count(b"\n") + (len(content) < len(found)), done)
            return cls(descriptor, contents, len(content))
        except OSError as error:
            os.close(descriptor)
            raise LedgerError(f"Ledger {path} cannot be read or mended ({error.strerror}).") from None
        except BaseException:
            os.close(descriptor)
            raise

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    @property
    def openings(self) -> tuple[Opening, ...]:
        """Every opening so far, those of earlier sessions included; as `contents`."""
        return self.contents.openings

    @property
    def lines(self) -> int:
        """Lines on the disk, the header included."""
        return self._head.lines

    @property
    def head(self) -> str:
        """Hash of the last line; keep it, with `lines`, in every checkpoint."""
        return self._head.hash

    @property
    def contents(self) -> LedgerContents:
        """What the ledger says so far, read back from the disk: a run of many rounds holds none of them in memory.

        Raises:
            LedgerError: if the file is not what was written.
        """
        return read_ledger(self._path, self._head)

    def append(self, opening: Opening) -> Head:
        """Write one opening and wait until the disk has it; only then may the sum be opened.

        Raises:
            LedgerError: when the opening does not fit the run or the line did not reach the disk. The ledger
                is then as it was, and the sum must not be opened.
        """
        opening.check_against(self.header)
        self._write(opening)
        return self._head

    def close(self) -> None:
        """Let go of the file and its lock; more than once does no harm."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, entry: LedgerHeader | Opening) -> None:
        if self._descriptor is None:
            raise LedgerError(f"Ledger {self._path} is closed and takes no more openings.")
        self._check_undisturbed(self._descriptor)
        line, digest = encode_line(self._head.lines, entry, self._head.hash)
        try:
            written = os.write(self._descriptor, line)
            if written != len(line):
                raise OSError(0, "only part of the line could be written, the disk may be full")
            os.fsync(self._descriptor)
        except OSError as error:
            self._take_back(self._descriptor)
            raise LedgerError(
                f"Ledger {self._path} could not record an opening ({error.strerror}): open nothing."
            ) from None
        self._length += len(line)
        self._head = Head(self._head.lines + 1, digest)

    def _take_back(self, descriptor: int) -> None:
        """Cut the file back to its last whole line; a ledger that cannot even do this is closed."""
        try:
            os.ftruncate(descriptor, self._length)
            os.fsync(descriptor)
        except OSError:
            self.close()

    def _check_undisturbed(self, descriptor: int) -> None:
        try:
            mine, there = os.fstat(descriptor), os.stat(self._path)
        except OSError as error:
            raise LedgerError(f"Ledger {self._path} is gone ({error.strerror}).") from None
        if (mine.st_dev, mine.st_ino) != (there.st_dev, there.st_ino) or mine.st_size != self._length:
            raise LedgerError(f"Ledger {self._path} was changed by someone else while it was open.")


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise LedgerError(f"Ledger {path} is in use by another process, and only one may append to it.") from None


def _verify(path: Path, content: bytes, expected: tuple[int, str] | None) -> LedgerContents:
    if not content.strip(b"\n"):
        raise LedgerError(f"Ledger {path}, line 1: is missing; the file is empty.")
    *lines, rest = content.split(b"\n")

    openings: list[Opening] = []
    hashes: list[str] = []
    seq = 0
    try:
        if not lines:
            raise LedgerError(_TORN)
        header, digest = parse_line(lines[0], 0, GENESIS, LedgerHeader)
        hashes.append(digest)
        for seq, line in enumerate(lines[1:], start=1):
            opening, digest = parse_line(line, seq, hashes[-1], Opening)
            opening.check_against(header)
            openings.append(opening)
            hashes.append(digest)
        if rest:
            seq = len(lines)
            raise LedgerError(_TORN)
    except LedgerError as error:
        raise LedgerError(f"Ledger {path}, line {seq + 1}: {str(error).rstrip('.')}.") from None
    if expected is not None:
        count, digest = expected
        if len(hashes) < count:
            raise LedgerError(f"Ledger {path}, line {len(hashes) + 1}: is missing; there once were {count} lines.")
        if count < 1 or hashes[count - 1] != digest:
            raise LedgerError(f"Ledger {path}, line {count}: is not the line that the checkpoint remembers.")
    return LedgerContents(path, header, tuple(openings), Head(len(hashes), hashes[-1]))
