"""Length-bounded frames between the caller and a party: one JSON header and raw bytes, never pickle.

A peer that is gone, silent or sends nonsense becomes a `ChannelBroken`; no call blocks longer than its time-out.
"""

from __future__ import annotations

import json
import socket
import struct
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from secagg.messages import MAX_LENGTH

__all__ = ["Channel", "ChannelBroken", "Frame"]

_HEADER = struct.Struct("!I")
_MAX_HEADER = 2**26
_MAX_FRAME = 8 * MAX_LENGTH + _MAX_HEADER


class ChannelBroken(Exception):
    """The other end is gone, silent for too long, or sent something that is no frame."""


@dataclass(frozen=True)
class Frame:
    """One message: what it is (`header["kind"]`), its facts, and raw bytes."""

    header: dict[str, Any]
    payload: bytes = b""

    @property
    def kind(self) -> str:
        """What this frame is."""
        return str(self.header.get("kind"))


class Channel:
    """One end of a connected stream socket.

    Args:
        end: the socket; the channel owns it from here on.
        send_timeout_s: a write that makes no progress for so long breaks the channel.
        receive_timeout_s: a read that makes no progress for so long does too (None: it waits).
    """

    def __init__(self, end: socket.socket, send_timeout_s: float, receive_timeout_s: float | None = None) -> None:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(send_timeout_s))
        if receive_timeout_s is not None:
            # `poll` only covers a frame's first byte; its sender may be stopped half way.
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(receive_timeout_s))
        self.connection = Connection(end.detach())

    def send(self, frame: Frame) -> None:
        """Write one frame.

        Raises:
            ChannelBroken: if the other end is gone or does not read.
        """
        header = json.dumps(frame.header, separators=(",", ":")).encode()
        try:
            self.connection.send_bytes(_HEADER.pack(len(header)) + header + frame.payload)
        except OSError as error:
            raise ChannelBroken(f"cannot send: {error}") from None

    def receive(self, timeout_s: float | None) -> Frame:
        """Read one frame, waiting at most `timeout_s` (None: for ever, ended by the other end's death).

        Raises:
            ChannelBroken: on end of file, time-out or a malformed frame.
        """
        try:
            if timeout_s is not None and not self.connection.poll(timeout_s):
                raise ChannelBroken(f"silent for {timeout_s:g} s")
            raw = self.connection.recv_bytes(_MAX_FRAME)
        except BlockingIOError:
            raise ChannelBroken("stopped in the middle of a frame") from None
        except (EOFError, OSError):
            raise ChannelBroken("closed by the other end") from None
        if len(raw) < _HEADER.size:
            raise ChannelBroken("frame too short")
        (length,) = _HEADER.unpack_from(raw)
        end = _HEADER.size + length
        if length > _MAX_HEADER or end > len(raw):
            raise ChannelBroken("frame header too long")
        try:
            header = json.loads(raw[_HEADER.size : end])
        except ValueError:
            raise ChannelBroken("frame header is not JSON") from None
        if not isinstance(header, dict):
            raise ChannelBroken("frame header is not an object")
        return Frame(header, raw[end:])

    def close(self) -> None:
        """Close this end."""
        self.connection.close()


def _timeval(seconds: float) -> bytes:
    # All zeros would mean no limit at all.
    return struct.pack("@ll", int(seconds), max(1, int(seconds % 1 * 1e6)))
