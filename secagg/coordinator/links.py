"""The coordinator's connections to the parties: questions to all of them, one answer from each, and who failed.

A failure closes every connection, which makes every party drop the round; the next round connects again. The
coordinator relays sealed shares that it cannot read, and learns the opened sum.
"""

from __future__ import annotations

import select
import ssl
import time
from collections.abc import Mapping
from typing import Any, NoReturn

from secagg.coordinator.local_daemons import LocalDaemons
from secagg.deployment.terms import Deployment
from secagg.errors import PartyFailure
from secagg.party.frames import Channel, ChannelBroken, Frame
from secagg.party.tls import connect

__all__ = ["ANSWERS", "PartyLinks"]

_POLL_S = 0.2
# What a party answers to a question; or that it refuses, or has failed.
ANSWERS = {"open": "opened", "close": "closed", "reveal": "sum"}
_REFUSALS = ("below", "refused")
_RETRY_S = 0.1
# A listening socket outlives its daemon: whether somebody is behind it is looked at this often.
_HANDSHAKE_S = 5.0
_EXIT_S = 2.0


class PartyLinks:
    """One channel to each party, made when first needed.

    Args:
        deployment: whom to connect to.
        context: a client's TLS context with the coordinator's certificate.
        timeout_s: longest time for any single answer.
        daemons: the processes behind the addresses if they are this machine's, so that one that died is named at once
            and one that is silent is ended; None if others run them.
    """

    def __init__(
        self, deployment: Deployment, context: ssl.SSLContext, timeout_s: float, daemons: LocalDaemons | None
    ) -> None:
        self._deployment, self._context, self._timeout_s, self._daemons = deployment, context, timeout_s, daemons
        self._channels: dict[int, Channel] = {}

    def connect(self) -> None:
        """Connect to every party that there is no connection to.

        A daemon of this machine that does not answer is replaced once.

        Raises:
            PartyFailure: naming a party that cannot be reached or does not answer.
        """
        try:
            self._connect_missing()
        except PartyFailure:
            if self._daemons is None:
                raise
            self._connect_missing()

    def _connect_missing(self) -> None:
        if self._daemons is not None:
            self._daemons.start()
        for rank, channel in list(self._channels.items()):
            if _has_news(channel):  # between rounds a party has nothing to say: it has hung up
                self._channels.pop(rank).close()
        fresh = [rank for rank in range(len(self._deployment.parties)) if rank not in self._channels]
        try:
            for rank in fresh:
                self._channels[rank] = self._connect(rank)
            self._collect(fresh, "ready")
        except BaseException:
            self.close()
            raise

    def send(self, rank: int, kind: str, facts: Mapping[str, Any], *payload: bytes | memoryview) -> None:
        """Send a frame to one party.

        Raises:
            PartyFailure: if it is gone or does not read.
        """
        try:
            self._channels[rank].send(kind, dict(facts), *payload)
        except KeyError:
            raise PartyFailure("the parties are not connected") from None
        except ChannelBroken as error:
            self._fail([rank], str(error), end=True)
        except BaseException:
            self.close()  # interrupted: half a frame would garble all that follow
            raise

    def ask(self, kind: str, facts: Mapping[str, Any]) -> list[Frame]:
        """Send a frame to every party and wait for every answer, by rank; a party that refuses answers for all.

        Args:
            kind: of the question, one of `ANSWERS`.
            facts: what it says.

        Returns:
            One frame of each party; or only that of a party that answered "below" or "refused".

        Raises:
            PartyFailure: if one is gone, silent, has failed or answers anything else.
        """
        try:
            for rank in range(len(self._deployment.parties)):
                self.send(rank, kind, facts)
            return self._collect(list(self._channels), ANSWERS[kind])
        except BaseException:
            # Also when the caller is interrupted: an answer left unread would pass for the next question's.
            self.close()
            raise

    def close(self) -> None:
        """Hang up on every party; each drops its round."""
        for channel in self._channels.values():
            channel.close()
        self._channels.clear()

    def _connect(self, rank: int) -> Channel:
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                left = min(_HANDSHAKE_S, max(0.1, deadline - time.monotonic()))
                channel = connect(self._deployment.parties[rank], self._context, left)
                channel.set_timeout(self._timeout_s)
                channel.send("hello", {"label": b""})
                return channel
            except ChannelBroken as error:
                if time.monotonic() >= deadline or self._ended([rank], 0.0):
                    self._fail([rank], str(error), end=True)
                time.sleep(_RETRY_S)

    def _collect(self, ranks: list[int], answer: str) -> list[Frame]:
        """One frame of each party, by rank, while watching that none of them dies."""
        deadline = time.monotonic() + self._timeout_s
        heard: set[int] = set()
        answers: dict[int, Frame] = {}
        while missing := [rank for rank in ranks if rank not in answers]:
            self._wait(missing, max(0.0, min(deadline - time.monotonic(), _POLL_S)))
            for rank in missing:
                frame = self._receive(rank)
                if frame is None:
                    continue
                if frame.kind in ("heard", "working"):
                    heard.add(rank)
                    if frame.kind == "working":
                        deadline = time.monotonic() + self._timeout_s
                elif frame.kind == answer:
                    answers[rank] = frame
                elif frame.kind in _REFUSALS:
                    return [frame]  # the others may be waiting for this one in vain
                else:
                    reason = f": {frame.facts.get('reason')}" if frame.kind == "failed" else f" {frame.kind[:20]!r}"
                    self._fail([rank], f"answered{reason}")
            missing = [rank for rank in missing if rank not in answers]
            if missing and self._ended(ranks, 0.0):
                self._fail(missing, "ended")
            if missing and time.monotonic() >= deadline:
                # One silent party keeps the others waiting; it is the one that has not even heard the question.
                silent = [rank for rank in missing if rank not in heard] or missing
                self._fail(silent, f"gave no answer within {self._timeout_s:g} s", end=True, wait_s=0.0)
        return [answers[rank] for rank in sorted(answers)]

    def _wait(self, ranks: list[int], seconds: float) -> None:
        # What TLS has read ahead the descriptor does not show.
        if any(_has_news(self._channels[rank]) for rank in ranks):
            return
        poller = select.poll()
        for rank in ranks:
            poller.register(self._channels[rank].fileno(), select.POLLIN)
        poller.poll(1000 * seconds)

    def _receive(self, rank: int) -> Frame | None:
        try:
            return self._channels[rank].receive(self._timeout_s) if self._channels[rank].poll(0) else None
        except ChannelBroken as error:
            self._fail([rank], str(error), end=True)

    def _ended(self, ranks: list[int], wait_s: float) -> str | None:
        return None if self._daemons is None else self._daemons.why_ended(ranks, wait_s)

    def _fail(self, ranks: list[int], reason: str, end: bool = False, wait_s: float = _EXIT_S) -> NoReturn:
        # When one party dies the others fail too, a moment later: a process that has ended names the cause.
        ended = self._ended(ranks, wait_s)
        if end and ended is None and self._daemons is not None:
            self._daemons.end(ranks)  # alive and deaf: another takes its place in the next round
        self.close()
        named = " and ".join(str(rank) for rank in ranks)
        raise PartyFailure(ended or f"party {named} of {len(self._deployment.parties)} {reason}")


def _has_news(channel: Channel) -> bool:
    """Whether there is something to read, or the connection is broken, which reading will tell."""
    try:
        return channel.poll(0)
    except ChannelBroken:
        return True
