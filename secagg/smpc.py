"""The SMPC aggregator: the coordinator of parties that open one sum a round and show nothing else.

It relays each client's sealed parts to the parties, asks them to agree on the clients that all of them hold, has the
opening recorded, and takes the sum. The parties run by themselves on other machines (`deployment`), or are daemons
that it starts on this one. Nothing here decodes or scales, and nothing that it relays could be read here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from secagg.aggregator import BeforeOpening
from secagg.coordinator.links import ANSWERS
from secagg.coordinator.local_daemons import LocalDaemons, local_policy
from secagg.coordinator.members import Members
from secagg.deployment.terms import Deployment
from secagg.envelopes import SealedMessage, seal, upload_bytes
from secagg.errors import AggregationError, PartyFailure
from secagg.messages import ClientMessage, RoundSpec, RoundSum
from secagg.openings import OpeningRefused
from secagg.party.frames import Frame
from secagg.party.spool import SpooledParts
from secagg.round_state import BelowMinimum, MessageRefused, RoundState, require_minimum
from secagg.wire import WireError, ids_of, spec_to_wire

__all__ = ["PartyFailure", "SmpcAggregator"]

# Parts wait here until so many messages or bytes are together: one frame a batch keeps the parties in step cheaply.
_BATCH_MESSAGES = 256
_BATCH_BYTES = 8 * 2**20


class SmpcAggregator:
    """Coordinates `parties` parties, any parties - 1 of which learn nothing but the opened sums.

    Without a deployment it starts them on this machine with the first round, restarts those that died, and makes keys
    for them and for one simulated cohort of clients, so that `submit` can seal for everyone.

    Args:
        parties: 2 or more; with a deployment, as many as it has.
        timeout_s: longest time for any single answer of a party.
        deployment: folder with `parties.yaml`, the coordinator's keys (`coordinator`) and, in a simulation, those of
            the cohort (`cohort`); None: parties of its own.
        min_difference: of parties of its own: two openings of one model are over equal sets of clients or over sets
            that differ by so many; None: the round's n_min.
        norm_check: whether rounds with a `norm_bound` will come, which parties of its own need a dealer for.
        spool: folder that parties of its own may read parts from, for `submit_spooled`.

    Attributes:
        refused: clients of the last closed round whose message was sealed here and not taken by the parties.
        bytes_between_parties: sent among the parties in the last round, by all of them.

    Raises:
        AggregationError: for fewer than two parties, a time-out that is not positive, or a deployment that has another
            number of parties or no usable keys.
    """

    name = "smpc"

    def __init__(
        self,
        parties: int = 3,
        timeout_s: float = 60.0,
        deployment: Path | None = None,
        min_difference: int | None = None,
        norm_check: bool = False,
        spool: Path | None = None,
    ) -> None:
        if parties < 2:
            raise AggregationError(f"parties is {parties}; allowed: 2 or more (one alone would see every message)")
        if not timeout_s > 0:
            raise AggregationError(f"timeout_s is {timeout_s}; allowed: seconds above 0")
        self.parties, self._timeout_s = parties, timeout_s
        self._min_difference, self._norm_check = min_difference, norm_check
        self.refused = self.bytes_between_parties = 0
        self._members: Members | None = None
        self._state: RoundState | None = None
        self._batch: list[SealedMessage] = []
        self._batch_bytes = self._batches = self._most_bytes = 0
        self._spool = spool
        if deployment is not None:
            self._members = Members(deployment, timeout_s)
            found = self._members.deployment
            if len(found.parties) != parties:
                raise AggregationError(
                    f"{deployment} has {len(found.parties)} parties; aggregation.parties is {parties}"
                )
            if norm_check and found.dealer is None:
                raise AggregationError(f"{deployment} has no dealer; a norm check needs one")

    @property
    def members(self) -> Members:
        """The parties; those of its own get their keys now and start with `start`."""
        if self._members is None:
            policy = local_policy(self._timeout_s, self._min_difference)
            daemons = LocalDaemons(self.parties, policy, self._norm_check, self._spool)
            self._members = Members(daemons.folder, self._timeout_s, daemons)
        return self._members

    @property
    def deployment(self) -> Deployment:
        """The parties' public keys and terms."""
        return self.members.deployment

    @property
    def signing_key(self) -> Ed25519PrivateKey:
        """As `Members.signing_key`."""
        return self.members.signing_key

    @property
    def key_folder(self) -> Path:
        """Where `cohort_sealer` finds the parties' public keys and the cohort's own."""
        return self.members.folder

    @property
    def pids(self) -> list[int]:
        """Process ids of parties of its own, by rank; empty before the first round."""
        return [] if self._members is None else self._members.pids

    def start(self) -> None:
        """Start the parties and connect to them; `open_round` does it too.

        Raises:
            PartyFailure: if one cannot be started or reached.
        """
        self.members.links.connect()

    def upload_bytes(self, spec: RoundSpec) -> int:
        """Bytes that one client sends in a round."""
        return upload_bytes(spec, self.deployment)

    def open_round(self, spec: RoundSpec) -> None:
        """Start collecting; see `Aggregator.open_round`.

        Raises:
            AggregationError: if the parties refuse the round: opened before, or outside their policy.
            PartyFailure: if they cannot be started or reached.
        """
        self.abort()
        self.start()
        if spec.norm_bound and self.deployment.dealer is None:
            raise AggregationError("a round with a norm check needs a dealer; start with norm_check")
        self._ask("open", {"spec": spec_to_wire(spec)})
        self._state = RoundState(spec)
        self._most_bytes = 2 * upload_bytes(spec, self.deployment) + 2**22
        self._batches = 0

    def submit(self, message: ClientMessage | SealedMessage) -> None:
        """Hand each party its part of a message.

        A `ClientMessage` is sealed here, as a client of the simulated cohort would. Whether a sealed one belongs to
        the round is for the parties to judge: this class could not read it.

        Raises:
            MessageRefused: if it does not belong to the open round.
            PartyFailure: if a party is gone.
        """
        state = self._open_state()
        if isinstance(message, ClientMessage):
            sealed = seal(message, state.spec, self.deployment, self.signing_key)
            state.admit(message.clients)
        else:
            sealed = message
            if len(sealed.parts) != self.parties:
                raise MessageRefused(f"a message of {len(sealed.parts)} parts for {self.parties} parties")
            if sealed.size > self._most_bytes:
                raise MessageRefused(f"a message of {sealed.size} bytes, more than this round's can have")
        self._batch.append(sealed)
        self._batch_bytes += sealed.size
        if len(self._batch) >= _BATCH_MESSAGES or self._batch_bytes >= _BATCH_BYTES:
            self._flush()

    def submit_spooled(self, places: Sequence[SpooledParts]) -> None:
        """Have the parties read the parts of some messages themselves; they judge them as they do all others.

        Args:
            places: for each party, by rank, where its parts of the same messages are in its spool.

        Raises:
            MessageRefused: if the places are not of the same number of messages for each party.
            PartyFailure: if a party is gone.
        """
        self._open_state()
        if len(places) != self.parties or len({len(place.lengths) for place in places}) != 1:
            raise MessageRefused(f"spooled parts that are not of the same messages for {self.parties} parties")
        self._flush()
        self._relay([({"lengths": list(place.lengths), "spool": [place.name, place.offset]}, ()) for place in places])

    def close(self, before_opening: BeforeOpening | None = None) -> RoundSum:
        """Agree, record, open; see `Aggregator.close`.

        Raises:
            BelowMinimum: if the parties have fewer than n_min clients in common.
            OpeningRefused: if the sum would differ by few clients from one that was opened.
            PartyFailure: if a party died, was silent, or opened something else than the others.
        """
        state = self._open_state()
        try:
            self._flush()
            clients = self._agreed(self._ask("close", {}))
            require_minimum(state.spec, clients)
            if before_opening is not None:
                before_opening(clients)
            answers = self._ask("reveal", {})
        except BaseException:
            self.abort()
            raise
        self._state = None
        sent = [answer.facts.get("bytes") for answer in answers]
        self.bytes_between_parties = sum(count for count in sent if isinstance(count, int))
        if any(answer.facts.get("digest") != answers[0].facts.get("digest") for answer in answers):
            raise PartyFailure(f"round {state.spec.round}: the parties opened different sums; the result is discarded")
        if len(answers[0].payload) != 8 * state.spec.length:
            raise PartyFailure(f"round {state.spec.round}: party 0 answered a sum of the wrong length")
        return RoundSum(np.frombuffer(answers[0].payload, dtype="<i8"), clients)

    def abort(self) -> None:
        """Discard the round's shares at every party."""
        if self._state is not None and self._members is not None:
            self._members.links.close()
        self._state = None
        self._batch, self._batch_bytes = [], 0

    def shutdown(self) -> None:
        """Leave the parties; end those of its own."""
        self.abort()
        if self._members is not None:
            self._members.close()
            if self._members.daemons is not None:
                self._members = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()

    def _flush(self) -> None:
        """Send the parties what waits for them."""
        if self._batch:
            by_party = zip(*(message.parts for message in self._batch), strict=True)
            self._relay([({"lengths": [len(part) for part in parts]}, parts) for parts in by_party])
            self._batch, self._batch_bytes = [], 0

    def _relay(self, batch: Sequence[tuple[dict[str, object], Sequence[bytes]]]) -> None:
        """The next batch: what each party is told of it, by rank, and the bytes, if it does not read them itself."""
        # Party 0 waits for the others' word on a batch: it gets its own, large one last.
        for rank in (*range(1, self.parties), 0):
            facts, parts = batch[rank]
            self._send(rank, "batch", {"index": self._batches, **facts}, *parts)
        self._batches += 1

    def _agreed(self, answers: list[Frame]) -> frozenset[int]:
        """The set that all parties answered."""
        state = self._open_state()
        ranges = answers[0].facts.get("clients")
        if any(answer.facts.get("clients") != ranges for answer in answers):
            raise PartyFailure(f"round {state.spec.round}: the parties disagree on the clients; nothing was opened")
        try:
            clients = frozenset(ids_of(ranges, len(state.spec.clients)))
        except WireError as error:
            raise PartyFailure(f"party 0 answered clients that are none: {error}") from None
        self.refused = len(state.received - clients)
        return clients

    def _send(self, rank: int, kind: str, facts: dict[str, object], *payload: bytes) -> None:
        try:
            self.members.links.send(rank, kind, facts, *payload)
        except PartyFailure as failure:
            raise self._lost(str(failure)) from None

    def _ask(self, kind: str, facts: dict[str, object]) -> list[Frame]:
        try:
            answers = self.members.links.ask(kind, facts)
        except PartyFailure as failure:
            raise self._lost(str(failure)) from None
        if answers[0].kind == ANSWERS[kind]:
            return answers
        self.members.links.close()
        reason = str(answers[0].facts.get("reason"))
        raise BelowMinimum(reason) if answers[0].kind == "below" else OpeningRefused(reason)

    def _lost(self, reason: str) -> PartyFailure:
        """The failure to raise; the next round connects again."""
        which = "" if self._state is None else f"; the sum of round {self._state.spec.round} is lost"
        self._state = None
        return PartyFailure(reason + which)

    def _open_state(self) -> RoundState:
        if self._state is None:
            raise AggregationError("no round is open")
        return self._state
