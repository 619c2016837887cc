"""A network that breaks: a TCP proxy before each party, whose connections can be reset, and whose link can stand still.

The deployment's file names the proxies, and the daemons listen elsewhere, as behind a translated address. What passes
is TLS and unreadable here.
"""

from __future__ import annotations

import contextlib
import random
import select
import socket
import struct
import threading
import time

__all__ = ["Link"]

_POLL_S = 0.05
_PIECE = 2**16
_RESET = struct.pack("ii", 1, 0)  # linger on, no time: closing sends a reset


class Link:
    """A proxy on a port of its own.

    Args:
        port: of the daemon behind it, on the loopback.

    Attributes:
        port: where it listens.
        cut: connections that it reset.
        passed: connections that it made.
    """

    def __init__(self, port: int) -> None:
        self._behind = port
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listening.getsockname()[1]
        self.cut = self.passed = 0
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self._stands_until = 0.0
        threading.Thread(target=self._accept, daemon=True).start()

    def reset(self, draw: random.Random, everything: bool) -> int:
        """Reset every connection, or one; returns how many."""
        with self._lock:
            chosen = list(self._pairs) if everything else draw.sample(self._pairs, min(1, len(self._pairs)))
        for pair in chosen:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    # Wakes the thread that pumps, which closes; nothing more is read.
                    end.shutdown(socket.SHUT_RD)
        self.cut += len(chosen)
        return len(chosen)

    def stand_still(self, seconds: float) -> None:
        """Pass nothing on for so long."""
        self._stands_until = time.monotonic() + seconds

    def close(self) -> None:
        """Stop listening; connections end with the process."""
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                front, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._pump, args=(front,), daemon=True).start()

    def _pump(self, front: socket.socket) -> None:
        try:
            back = socket.create_connection(("127.0.0.1", self._behind), 5.0)
        except OSError:
            front.close()
            return
        pair = (front, back)
        with self._lock:
            self._pairs.append(pair)
        self.passed += 1
        for end in pair:
            end.settimeout(10.0)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        poller = select.poll()
        for end in pair:
            poller.register(end, select.POLLIN)
        other = {front.fileno(): (front, back), back.fileno(): (back, front)}
        try:
            while True:
                while (left := self._stands_until - time.monotonic()) > 0:
                    time.sleep(min(left, _POLL_S))
                for descriptor, _ in poller.poll():
                    source, target = other[descriptor]
                    data = source.recv(_PIECE)
                    if not data:
                        return
                    target.sendall(data)
        except OSError:
            pass
        finally:
            with self._lock:
                self._pairs.remove(pair)
            for end in pair:
                end.close()
