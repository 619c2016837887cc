"""The party process: collects its share of every message, agrees with the others, opens when told to.

States: idle -> open (collecting) -> closed (set agreed) -> idle. Started by `secagg.smpc` with one end of a socket
pair; ends when that socket closes. It must never write a share to a log or file, and never open twice.
"""

from __future__ import annotations

import argparse
import logging
import os
import select
import shutil
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from secagg.errors import AggregationError
from secagg.messages import RoundSpec
from secagg.party.crypten_backend import CryptenGroup, digest
from secagg.party.frames import Channel, ChannelBroken, Frame
from secagg.randomness import KEY_BYTES
from secagg.ring import add_wrap
from secagg.round_state import BelowMinimum, MessageRefused, OpenedRounds, RoundState
from secagg.sharing import expand

__all__ = ["Party", "main"]

logger = logging.getLogger(__name__)


class Party:
    """One party's side of the protocol; `handle` maps each frame to its answer.

    Args:
        rank: 0 holds bodies, the others seeds.
        group: the other parties.
        heard: called before this party starts to wait for the others, so that the caller can tell the silent one
            from those that wait for it.
    """

    def __init__(self, rank: int, group: CryptenGroup, heard: Callable[[], None]) -> None:
        self._rank, self._group, self._heard = rank, group, heard
        self._state: RoundState | None = None
        self._opened = OpenedRounds()
        self._shares: list[tuple[tuple[int, ...], bytes]] = []
        self._agreed: frozenset[int] | None = None

    def handle(self, frame: Frame) -> Frame | None:
        """The answer to one frame, or None if it has none."""
        if frame.kind == "open":
            self._open(frame.header)
        elif frame.kind == "share":
            self._take(frame)
        elif frame.kind == "close":
            return self._agree()
        elif frame.kind == "reveal":
            return self._reveal()
        elif frame.kind == "abort":
            self._forget()
        else:
            raise ChannelBroken(f"unknown frame {frame.kind!r}")
        return None

    def _open(self, header: dict[str, Any]) -> None:
        self._forget()
        clients = header["clients"]
        expected = range(clients[0], clients[1]) if header["range"] else tuple(clients)
        spec = RoundSpec(header["run"], header["round"], header["attempt"], expected, header["length"], header["n_min"])
        self._opened.refuse_again(spec)
        self._state = RoundState(spec)

    def _take(self, frame: Frame) -> None:
        if self._state is None or self._agreed is not None:
            logger.warning("refused: a share while no round is open")
            return
        header, payload = frame.header, frame.payload
        clients = tuple(header["clients"])
        # A seed stands for a vector of the announced length; a body must have it.
        length = len(payload) // 8 if self._rank == 0 else self._state.spec.length
        wrong = len(payload) % 8 if self._rank == 0 else len(payload) != KEY_BYTES
        try:
            self._state.admit(header["run"], header["round"], header["attempt"], clients, -1 if wrong else length)
        except MessageRefused:
            return  # logged there; the caller has checked the message before, so this one came by another way
        self._shares.append((clients, payload))

    def _agree(self) -> Frame:
        state = self._require_open()
        order = sorted(state.spec.clients)
        held = np.isin(np.array(order), np.array(sorted(state.received), dtype=np.int64))
        self._heard()
        common = self._group.agree(held)
        agreed = frozenset(int(client) for client, both in zip(order, common, strict=True) if both)
        try:
            state.require_minimum(agreed)
        except BelowMinimum as refusal:
            self._forget()
            return Frame({"kind": "below", "reason": str(refusal)})
        self._agreed = agreed
        return Frame({"kind": "agreed", "clients": sorted(agreed)})

    def _reveal(self) -> Frame:
        state = self._require_open()
        if self._agreed is None:
            raise ChannelBroken("reveal before agreement")
        self._heard()
        agreed, shares = self._agreed, self._shares
        share: NDArray[np.int64] = np.zeros(state.spec.length, dtype=np.int64)
        summed: set[int] = set()
        for clients, payload in shares:
            if agreed.issuperset(clients):
                summed.update(clients)
                add_wrap(share, self._vector(payload, state.spec.length))
        self._forget()  # before the opening: whatever happens next, these shares are not used again
        if summed != agreed:
            # Only joint messages that overlap differently at two parties can lead here.
            raise ChannelBroken("the agreed clients are not those whose shares are held")
        self._opened.remember(state.spec)
        total = self._group.reveal(share)
        return Frame(
            {"kind": "sum", "digest": digest(total)},
            np.ascontiguousarray(total).tobytes() if self._rank == 0 else b"",
        )

    def _vector(self, payload: bytes, length: int) -> NDArray[np.int64]:
        return np.frombuffer(payload, dtype="<i8") if self._rank == 0 else expand(payload, length)

    def _require_open(self) -> RoundState:
        if self._state is None:
            raise ChannelBroken("no round is open")
        return self._state

    def _forget(self) -> None:
        self._state, self._shares, self._agreed = None, [], None


def main(arguments: list[str] | None = None) -> None:
    """Run one party until its caller closes the socket."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rank", type=int, required=True)
    parser.add_argument("--parties", type=int, required=True)
    parser.add_argument("--rendezvous", required=True)
    parser.add_argument("--socket", type=int, required=True, help="file descriptor of a connected stream socket")
    parser.add_argument("--timeout", type=float, required=True, help="seconds")
    parser.add_argument("--parent", type=int, required=True, help="process id of the caller")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING)
    channel = Channel(socket.socket(fileno=options.socket), options.timeout)
    folder = Path(options.rendezvous.removeprefix("file://")).parent
    threading.Thread(target=_end_with, args=(options.parent, options.socket, folder), daemon=True).start()
    try:
        _serve(channel, options.rank, CryptenGroup(options.rank, options.parties, options.rendezvous))
    finally:
        # This thread meets the end of the caller too, and must not cut the other's cleaning short by exiting.
        if _is_gone(options.parent, options.socket, 0):
            _leave(folder)


def _serve(channel: Channel, rank: int, group: CryptenGroup) -> None:
    party = Party(rank, group, lambda: channel.send(Frame({"kind": "heard"})))
    try:
        channel.send(Frame({"kind": "ready"}))
        while True:
            answer = party.handle(channel.receive(None))
            if answer is not None:
                channel.send(answer)
    except ChannelBroken as end:
        logger.info("party %d ends: %s", rank, end)
    except AggregationError as error:
        logger.error("party %d: %s", rank, error)
        sys.exit(1)


def _end_with(parent: int, end: int, folder: Path) -> None:
    """End this process when its caller is gone.

    The main thread may be waiting for its peers, deaf to its socket. Linux's parent-death signal will not do: it
    fires when the *thread* that started the party ends.
    """
    while not _is_gone(parent, end, 500):
        pass
    _leave(folder)


def _is_gone(parent: int, end: int, wait_ms: int) -> bool:
    """Whether the caller has hung up or died (a fork of it may hold the socket open: hence both)."""
    poller = select.poll()
    poller.register(end, 0)  # hang-ups are always reported
    return bool(poller.poll(wait_ms)) or os.getppid() != parent


def _leave(folder: Path) -> NoReturn:
    """Remove the folder that the caller can no longer remove, and end at once."""
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


if __name__ == "__main__":
    main()
