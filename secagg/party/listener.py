"""Who is at the door: accepts connections, checks who they are, and sorts them for the party.

The coordinator's newest connection replaces its older one; a peer's connection waits under the label of the round
that it wants to join. Whoever is not in the deployment file does not get past the TLS handshake.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from secagg.deployment.terms import Peer
from secagg.errors import SottoError
from secagg.party.frames import Channel, ChannelBroken
from secagg.party.tls import accept

__all__ = ["COORDINATOR", "Listener", "listening_socket"]

logger = logging.getLogger(__name__)

COORDINATOR = "coordinator"
# Handshakes under way at once; more wait in the kernel's queue.
_HANDSHAKES = 16
_BACKLOG = 64
_HANDSHAKE_S = 20.0
_POLL_S = 0.1


class Listener:
    """Incoming connections of one daemon.

    Args:
        listening: a bound socket in the listening state; the listener owns it.
        context: a server's TLS context.
        roles: fingerprint of each certificate that may connect, to the name of its role.
        timeout_s: of the channels that it hands out.
    """

    def __init__(
        self, listening: socket.socket, context: ssl.SSLContext, roles: Mapping[str, str], timeout_s: float
    ) -> None:
        self._socket, self._context, self._roles, self._timeout_s = listening, context, dict(roles), timeout_s
        self._changed = threading.Condition()
        self._coordinator: Channel | None = None
        self._fresh: Channel | None = None
        self._waiting: dict[str, tuple[bytes, Channel]] = {}
        self._slots = threading.Semaphore(_HANDSHAKES)
        threading.Thread(target=self._accept, daemon=True).start()

    def coordinator(self) -> Channel:
        """The coordinator's next connection; waits for it for ever."""
        with self._changed:
            while self._fresh is None:
                self._changed.wait()
            self._coordinator, self._fresh = self._fresh, None
            return self._coordinator

    @property
    def superseded(self) -> bool:
        """Whether the coordinator has made a newer connection than the one handed out."""
        with self._changed:
            return self._fresh is not None

    def peer(self, role: str, label: bytes, timeout_s: float, given_up: Callable[[], bool]) -> Channel:
        """The connection of `role` that wants to join the round labelled `label`.

        Raises:
            ChannelBroken: if it does not come within `timeout_s`, or `given_up` says that nobody wants it any more.
        """
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while True:
                found = self._waiting.get(role)
                if found is not None and found[0] == label:
                    del self._waiting[role]
                    return found[1]
                if time.monotonic() > deadline:
                    raise ChannelBroken(f"{role} did not join within {timeout_s:.3g} s")
                if self._fresh is not None or given_up():
                    raise ChannelBroken("the coordinator has gone")
                self._changed.wait(_POLL_S)

    def meeting(self, roles: Sequence[str]) -> dict[str, Channel]:
        """The connections of `roles`, as soon as all of them wait under one label; waits for ever."""
        with self._changed:
            while True:
                found = [self._waiting[role] for role in roles if role in self._waiting]
                if len(found) == len(roles) and len({label for label, _ in found}) == 1:
                    return {role: self._waiting.pop(role)[1] for role in roles}
                self._changed.wait()

    def close(self) -> None:
        """Stop listening and hang up on everyone."""
        self._socket.close()
        with self._changed:
            held = [self._coordinator, self._fresh, *(channel for _, channel in self._waiting.values())]
        for channel in held:
            if channel is not None:
                channel.close()

    def _accept(self) -> None:
        while True:
            try:
                plain, address = self._socket.accept()
            except OSError:
                if self._socket.fileno() < 0:
                    return
                time.sleep(_POLL_S)  # out of descriptors: the rest go on
                continue
            self._slots.acquire()
            threading.Thread(target=self._greet, args=(plain, address), daemon=True).start()

    def _greet(self, plain: socket.socket, address: object) -> None:
        patience_s = min(self._timeout_s, _HANDSHAKE_S)
        try:
            channel, shown = accept(plain, self._context, patience_s)
            try:
                self._admit(*self._hello(channel, shown, patience_s), channel)
            except BaseException:
                channel.close()
                raise
        except ChannelBroken as error:
            logger.warning("refused: a connection from %s: %s", address, error)
        finally:
            self._slots.release()

    def _hello(self, channel: Channel, shown: str, timeout_s: float) -> tuple[str, bytes]:
        """The role of whoever showed this certificate, and the label of the round that it wants to join."""
        role = self._roles.get(shown)
        hello = channel.receive(timeout_s)
        label = hello.facts.get("label")
        if role is None or hello.kind != "hello" or not isinstance(label, bytes):
            raise ChannelBroken(f"{role or 'nobody in the deployment'} said {hello.kind[:20]!r}")
        channel.set_timeout(self._timeout_s)
        return role, label

    def _admit(self, role: str, label: bytes, channel: Channel) -> None:
        with self._changed:
            if role == COORDINATOR:
                replaced, self._fresh = [self._fresh, self._coordinator], channel
            else:
                replaced = [self._waiting[role][1]] if role in self._waiting else []
                self._waiting[role] = (label, channel)
            self._changed.notify_all()
        for old in replaced:
            if old is not None:
                with contextlib.suppress(OSError):
                    old.close()


def listening_socket(peer: Peer, inherited: int | None) -> socket.socket:
    """The socket of a daemon: the one that its caller made, or a new one on its address.

    Raises:
        SottoError: if the address cannot be listened on.
    """
    if inherited is not None:
        return socket.socket(fileno=inherited)
    try:
        family = socket.getaddrinfo(peer.host, peer.port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((peer.host, peer.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise SottoError(
            f"cannot listen on {peer.address}: {error.strerror or error}; allowed: a free address of this host"
        ) from None
