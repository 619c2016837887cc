"""The parties of one round, joined pairwise: labelled frames between two, and exchanges among all.

A mesh lives for one attempt of one round and is closed with it, so nothing of a failed attempt can be read by the
next. All parties of a mesh were told the same specification: its digest is the label under which they join.

Ours and not independently reviewed.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from secagg.deployment.terms import Deployment, Peer
from secagg.party.frames import Channel, ChannelBroken, Frame
from secagg.party.listener import Listener
from secagg.party.tls import connect

__all__ = ["Mesh", "MeshBroken", "join", "party_role"]

_RETRY_S = 0.05
_SLOW_S = 1.0


class MeshBroken(Exception):
    """Another party is gone, silent or speaks out of turn; the round cannot go on."""


class Mesh:
    """This party's connections to the others.

    Args:
        rank: of this party.
        channels: one for each other rank.
        timeout_s: longest wait for a frame.
    """

    def __init__(self, rank: int, channels: Mapping[int, Channel], timeout_s: float) -> None:
        self.rank, self.parties = rank, len(channels) + 1
        self._channels, self._timeout_s = dict(channels), timeout_s
        self.others = sorted(self._channels)

    @property
    def sent(self) -> int:
        """Bytes sent to the others so far."""
        return sum(channel.sent for channel in self._channels.values())

    def send(self, rank: int, kind: str, facts: dict[str, Any], *payload: bytes | memoryview) -> None:
        """Send a frame to one party.

        Raises:
            MeshBroken: if it is gone.
        """
        try:
            self._channels[rank].send(kind, facts, *payload)
        except ChannelBroken as error:
            raise MeshBroken(f"party {rank}: {error}") from None

    def receive(self, rank: int, kind: str) -> Frame:
        """The next frame of one party, which must be of this kind; it may say first that it is still working.

        Raises:
            MeshBroken: if it is gone, silent, or sends something else.
        """
        try:
            frame = self._channels[rank].receive(self._timeout_s)
            while frame.kind == "working":
                frame = self._channels[rank].receive(self._timeout_s)
        except ChannelBroken as error:
            raise MeshBroken(f"party {rank}: {error}") from None
        if frame.kind != kind:
            raise MeshBroken(f"party {rank} sent {frame.kind[:20]!r} instead of {kind!r}")
        return frame

    def is_slow(self, rank: int) -> bool:
        """Whether nothing comes from a party for a second."""
        try:
            return not self._channels[rank].poll(_SLOW_S)
        except ChannelBroken:
            return False  # reading will tell

    def exchange(self, kind: str, facts: dict[str, Any], *payload: bytes | memoryview) -> dict[int, Frame]:
        """Send the same frame to everyone and read everyone's, by rank.

        Raises:
            MeshBroken: as `send` and `receive`.
        """
        return self.exchange_each(kind, facts, lambda other: payload)

    def exchange_each(
        self, kind: str, facts: dict[str, Any], payload_for: Callable[[int], Sequence[bytes | memoryview]]
    ) -> dict[int, Frame]:
        """As `exchange`, with a payload of its own for each rank.

        Pairs take turns in one order (the lower rank speaks first), so that no two wait for each other's full buffers.
        """
        found = {}
        for other in self.others:
            if self.rank < other:
                self.send(other, kind, facts, *payload_for(other))
            found[other] = self.receive(other, kind)
            if self.rank > other:
                self.send(other, kind, facts, *payload_for(other))
        return found

    def working(self) -> None:
        """Tell everyone that what they wait for takes longer.

        Raises:
            MeshBroken: as `send`.
        """
        for other in self.others:
            self.send(other, "working", {})

    def close(self) -> None:
        """Hang up on everyone; the others' next read or write fails."""
        for channel in self._channels.values():
            channel.close()


def party_role(rank: int) -> str:
    """The role name of a party."""
    return f"party {rank}"


def join(
    rank: int,
    label: bytes,
    deployment: Deployment,
    listener: Listener,
    context: ssl.SSLContext,
    timeout_s: float,
    given_up: Callable[[], bool],
) -> Mesh:
    """Meet the other parties of the round labelled `label`; each connects to those of lower rank.

    Raises:
        MeshBroken: naming the party that did not come.
    """
    channels: dict[int, Channel] = {}
    deadline = time.monotonic() + timeout_s
    try:
        for other, peer in enumerate(deployment.parties):
            if other < rank:
                channels[other] = _connect(peer, label, context, deadline, timeout_s, given_up)
            elif other > rank:
                left = max(0.0, deadline - time.monotonic())
                channels[other] = listener.peer(party_role(other), label, left, given_up)
    except ChannelBroken as error:
        for channel in channels.values():
            channel.close()
        raise MeshBroken(f"party {other}: {error}") from None
    return Mesh(rank, channels, timeout_s)


def _connect(
    peer: Peer, label: bytes, context: ssl.SSLContext, deadline: float, timeout_s: float, given_up: Callable[[], bool]
) -> Channel:
    while True:
        left = deadline - time.monotonic()
        try:
            channel = connect(peer, context, max(0.1, left))
            channel.set_timeout(timeout_s)
            channel.send("hello", {"label": label})
            return channel
        except ChannelBroken:
            # It may be on its way back after a restart.
            if left <= 0 or given_up():
                raise
            time.sleep(_RETRY_S)
