"""Length-bounded frames on a connected socket: a msgpack header and raw bytes, never pickle.

A peer that is gone, silent or sends nonsense becomes a `ChannelBroken`; no call waits longer than its time-out
without progress. One thread uses a channel at a time.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from secagg.limits import MAX_LENGTH
from secagg.wire import WireError, decode, encode

__all__ = ["MAX_PAYLOAD", "Channel", "ChannelBroken", "Frame", "split_payload"]

_PREFIX = struct.Struct("!IQ")
_MAX_HEADER = 2**25
MAX_PAYLOAD = 8 * MAX_LENGTH + 2**26
# A write to a TLS socket is one record of up to 16 KiB; larger pieces only save calls.
_PIECE = 2**20
# Memory that a frame's prefix gets on its word alone; it gets more as its bytes come.
_AHEAD = 2**24


class ChannelBroken(Exception):
    """The other end is gone, silent for too long, or sent something that is no frame."""


@dataclass(frozen=True)
class Frame:
    """One message: what it is, its facts, and raw bytes, which may be a seed or a share and must not reach a log."""

    kind: str
    facts: dict[str, Any] = field(default_factory=dict, repr=False)
    payload: bytes | bytearray | memoryview = field(default=b"", repr=False)


class Channel:
    """One end of a connected stream socket, TLS or plain; the channel owns it from here on.

    Args:
        end: the socket.
        timeout_s: a read or write that makes no progress for so long breaks the channel.

    Attributes:
        sent: bytes written so far, frames' prefixes included.
        reuses_memory: whether a received payload is valid only until the next one; fresh memory for every payload
            costs more than reading it.
    """

    def __init__(self, end: socket.socket, timeout_s: float) -> None:
        self._socket, self._timeout_s = end, timeout_s
        self.sent = 0
        self.reuses_memory = False
        self._room = bytearray()
        end.settimeout(timeout_s)

    def set_timeout(self, timeout_s: float) -> None:
        """Change the time-out of reads and writes."""
        self._timeout_s = timeout_s
        self._socket.settimeout(timeout_s)

    def fileno(self) -> int:
        """The descriptor, -1 once closed."""
        return self._socket.fileno()

    def send(self, kind: str, facts: dict[str, Any] | None = None, *payload: bytes | bytearray | memoryview) -> None:
        """Write one frame whose payload is the concatenation of `payload`.

        Raises:
            ChannelBroken: if the other end is gone or does not read.
        """
        header = encode([kind, facts or {}])
        pieces = [memoryview(piece).cast("B") for piece in payload]
        length = sum(map(len, pieces))
        try:
            self._socket.sendall(_PREFIX.pack(len(header), length) + header)
            for piece in pieces:
                for start in range(0, len(piece), _PIECE):
                    self._socket.sendall(piece[start : start + _PIECE])
        except TimeoutError:
            raise ChannelBroken(f"did not read for {self._timeout_s:g} s") from None
        except (OSError, ValueError) as error:
            raise ChannelBroken(f"cannot send: {error}") from None
        self.sent += _PREFIX.size + len(header) + length

    def receive(self, timeout_s: float | None) -> Frame:
        """Read one frame, waiting at most `timeout_s` for its beginning (None: for ever, or until the end closes).

        Raises:
            ChannelBroken: on end of file, time-out or a malformed frame.
        """
        if not self.poll(timeout_s):
            raise ChannelBroken(f"silent for {timeout_s:g} s")
        length, size = _PREFIX.unpack(self._read(_PREFIX.size))
        if length > _MAX_HEADER or size > MAX_PAYLOAD:
            raise ChannelBroken("a frame longer than it may be")
        try:
            header = decode(self._read(length))
        except WireError as error:
            raise ChannelBroken(f"a frame whose header is {error}") from None
        if not (isinstance(header, list) and [type(part) for part in header] == [str, dict]):
            raise ChannelBroken("a frame whose header has other parts")
        return Frame(header[0], header[1], self._read_payload(size))

    def poll(self, timeout_s: float | None) -> bool:
        """Whether something can be read (or the end has closed) within `timeout_s`."""
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            return True
        poller = select.poll()
        try:
            poller.register(self._socket, select.POLLIN)
            return bool(poller.poll(None if timeout_s is None else 1000 * timeout_s))
        except (OSError, ValueError):
            raise ChannelBroken("closed") from None

    def close(self) -> None:
        """Close this end; legal at any time, from any thread, and more than once."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes a thread that is reading
        self._socket.close()

    def _read_payload(self, count: int) -> memoryview | bytearray:
        if not self.reuses_memory:
            return self._read(count)
        if len(self._room) < count:
            self._room = self._read(count)
            return memoryview(self._room)
        return self._read_into(memoryview(self._room)[:count])

    def _read(self, count: int) -> bytearray:
        """Bytes in fresh memory, never more than twice what has come, so that a length that is a lie costs little."""
        memory, done = bytearray(min(count, _AHEAD)), 0
        while True:
            with memoryview(memory)[done:] as rest:
                self._read_into(rest)
            done = len(memory)
            if done == count:
                return memory
            memory.extend(bytes(min(count - done, done)))

    def _read_into(self, memory: memoryview) -> memoryview:
        view = memory[:]
        while len(view):
            try:
                got = self._socket.recv_into(view)
            except TimeoutError:
                raise ChannelBroken("stopped in the middle of a frame") from None
            except (OSError, ValueError):
                raise ChannelBroken("closed by the other end") from None
            if not got:
                raise ChannelBroken("closed by the other end")
            view = view[got:]
        return memory


def split_payload(payload: bytes | bytearray | memoryview, lengths: Iterable[int]) -> list[memoryview]:
    """The pieces that `send` joined, given their lengths.

    Raises:
        ChannelBroken: if the lengths do not add up to the payload.
    """
    view, pieces, start = memoryview(payload), [], 0
    for length in lengths:
        if type(length) is not int or length < 0:
            raise ChannelBroken("a frame whose pieces have impossible lengths")
        pieces.append(view[start : start + length])
        start += length
    if start != len(view):
        raise ChannelBroken("a frame whose pieces do not add up")
    return pieces
