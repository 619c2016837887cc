"""The SMPC aggregator: parties in processes of their own, joined by CrypTen, that open one sum a round.

The caller stands for the clients' network: it hands each party only its own share of every message. Parties agree
among themselves on the clients that all of them hold, refuse below n_min, and open one sum of raw ring values. Nothing
here decodes, scales or adds noise.
"""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import Any, Self

import numpy as np

from secagg.aggregator import BeforeOpening
from secagg.errors import AggregationError
from secagg.messages import ClientMessage, RoundSpec, RoundSum
from secagg.party.frames import Frame
from secagg.party.process import PartyFailure, PartyGroup
from secagg.round_state import BelowMinimum, MessageRefused, OpenedRounds, RoundState

__all__ = ["PartyFailure", "SmpcAggregator"]


class SmpcAggregator:
    """`parties` party processes on this machine; any parties - 1 of them learn nothing but the opened sums.

    Processes start with the first round and again after a failure.

    Args:
        parties: 2 or more.
        timeout_s: longest time for any single answer of a party.

    Raises:
        AggregationError: for fewer than two parties or a time-out that is not positive.
    """

    name = "smpc"

    def __init__(self, parties: int = 3, timeout_s: float = 60.0) -> None:
        if parties < 2:
            raise AggregationError(f"parties is {parties}; allowed: 2 or more (one alone would see every message)")
        if not timeout_s > 0:
            raise AggregationError(f"timeout_s is {timeout_s}; allowed: seconds above 0")
        self.parties = parties
        self._timeout_s = timeout_s
        self._group: PartyGroup | None = None
        self._state: RoundState | None = None
        self._opened = OpenedRounds()

    @property
    def pids(self) -> list[int]:
        """Process ids of the parties, by rank; empty before the first round and after a failure."""
        return [] if self._group is None else self._group.pids

    def open_round(self, spec: RoundSpec) -> None:
        """Start collecting; starts the parties if they are not running.

        Raises:
            AggregationError: if this run, round and attempt was opened before.
            PartyFailure: if they cannot be started or reached.
        """
        self._opened.refuse_again(spec)
        if self._group is not None and not self._group.alive:
            self.shutdown()  # a party died between rounds, when it held nothing
        if self._group is None:
            self._group = PartyGroup(self.parties, self._timeout_s)
        self._state = RoundState(spec)
        for rank in range(self.parties):
            self._send(rank, Frame(_open_header(spec)))

    def submit(self, message: ClientMessage) -> None:
        """Check a message and hand each party its share; see `Aggregator.submit`.

        Raises:
            MessageRefused: if it does not belong to the open round.
            PartyFailure: if a party is gone.
        """
        state = self._open_state()
        shares = message.shares
        if len(shares.seeds) != self.parties - 1:
            raise MessageRefused(
                f"refused: a message with {len(shares.seeds)} seeds; {self.parties} parties need {self.parties - 1}"
            )
        state.admit(message.run, message.round, message.attempt, message.clients, len(shares.body))
        header = {
            "kind": "share",
            "run": message.run,
            "round": message.round,
            "attempt": message.attempt,
            "clients": list(message.clients),
        }
        self._send(0, Frame(header, np.ascontiguousarray(shares.body).tobytes()))
        for rank, seed in enumerate(shares.seeds, 1):
            self._send(rank, Frame(header, seed))

    def close(self, before_opening: BeforeOpening | None = None) -> RoundSum:
        """Agree, record, open; see `Aggregator.close`.

        Raises:
            BelowMinimum: if the parties have fewer than n_min clients in common.
            PartyFailure: if a party died, was silent, or opened something else than the others.
        """
        state = self._open_state()
        opened = False
        try:
            answers = self._ask(Frame({"kind": "close"}), ("agreed", "below"))
            if any(answer.kind == "below" for answer in answers):
                raise BelowMinimum(str(answers[0].header.get("reason")))
            sets = {tuple(answer.header.get("clients", ())) for answer in answers}
            if len(sets) != 1:
                raise AggregationError(
                    f"round {state.spec.round}: the parties disagree on the clients; nothing was opened"
                )
            clients = frozenset(sets.pop())
            state.require_minimum(clients)
            if before_opening is not None:
                before_opening(clients)
            self._opened.remember(state.spec)
            answers = self._ask(Frame({"kind": "reveal"}), ("sum",))
            opened = True
        finally:
            self._state = None
            if not opened:
                self.abort()
        if len({answer.header.get("digest") for answer in answers}) != 1:
            self.shutdown()
            raise PartyFailure(f"round {state.spec.round}: the parties opened different sums; the result is discarded")
        total = np.frombuffer(answers[0].payload, dtype="<i8").copy()
        if total.shape != (state.spec.length,):
            self.shutdown()
            raise PartyFailure(f"round {state.spec.round}: party 0 answered a sum of the wrong length")
        return RoundSum(total, clients)

    def abort(self) -> None:
        """Discard the round's shares at every party."""
        self._state = None
        if self._group is not None:
            with contextlib.suppress(PartyFailure):
                for rank in range(self.parties):
                    self._send(rank, Frame({"kind": "abort"}))

    def shutdown(self) -> None:
        """End the parties."""
        self._state = None
        if self._group is not None:
            self._group.kill()
            self._group = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()

    def _send(self, rank: int, frame: Frame) -> None:
        if self._group is None:
            raise self._lost("the parties are not running")
        try:
            self._group.send(rank, frame)
        except PartyFailure as failure:
            raise self._lost(str(failure)) from None
        except BaseException:
            self._group = None
            raise

    def _ask(self, frame: Frame, kinds: tuple[str, ...]) -> list[Frame]:
        if self._group is None:
            raise self._lost("the parties are not running")
        try:
            return self._group.ask(frame, kinds)
        except PartyFailure as failure:
            raise self._lost(str(failure)) from None
        except BaseException:
            self._group = None
            raise

    def _lost(self, reason: str) -> PartyFailure:
        """The failure to raise; the group is gone with the round, and the next round starts another."""
        which = "" if self._state is None else f"; the sum of round {self._state.spec.round} is lost"
        self._group = self._state = None
        return PartyFailure(reason + which)

    def _open_state(self) -> RoundState:
        if self._state is None:
            raise AggregationError("no round is open")
        return self._state


def _open_header(spec: RoundSpec) -> dict[str, Any]:
    # A range of ten thousand ids travels as two numbers.
    whole = isinstance(spec.clients, range) and spec.clients.step == 1
    return {
        "kind": "open",
        "run": spec.run,
        "round": spec.round,
        "attempt": spec.attempt,
        "range": whole,
        "clients": [spec.clients.start, spec.clients.stop]
        if isinstance(spec.clients, range) and whole
        else sorted(spec.clients),
        "length": spec.length,
        "n_min": spec.n_min,
    }
