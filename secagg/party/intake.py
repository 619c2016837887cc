"""What a party does with a batch of sealed parts before anyone else hears of it: read, open, check, refuse.

Whatever the bytes are, a part becomes an `OpenedPart` or a refusal in the log and the journal with a reason; nothing
here raises because of what a client sent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from secagg.deployment.terms import Deployment
from secagg.envelopes import OpenedPart, open_part
from secagg.messages import RoundSpec
from secagg.packing import packed_bytes
from secagg.party.frames import MAX_PAYLOAD, ChannelBroken, Frame, split_payload
from secagg.party.spool import Spool, SpooledParts, SpoolError
from secagg.round_state import MessageRefused, RoundState
from secagg.wire import encode, ranges_of

__all__ = ["Intake"]


class Intake:
    """Reads the parts of one round at one party.

    Args:
        rank: of this party.
        spec: the round.
        deployment: who may send.
        sealing_key: this party's private key.
        spool: where parts may be that the coordinator only names; None: it has to send them.
        refused: told the reason of each refusal.
    """

    def __init__(
        self,
        rank: int,
        spec: RoundSpec,
        deployment: Deployment,
        sealing_key: X25519PrivateKey,
        spool: Spool | None,
        refused: Callable[[str], None],
    ) -> None:
        self._rank, self._spec, self._deployment = rank, spec, deployment
        self._sealing_key, self._spool, self._refused = sealing_key, spool, refused
        self._round = RoundState(spec)
        self._body_bytes = packed_bytes(spec.length, spec.bits)
        # Party 0 decrypts a batch's bodies into the memory of the batch before: fresh pages cost more than the cipher.
        self._rooms: list[bytearray] = []
        self._used_rooms = 0

    def batch(self, frame: Frame) -> dict[bytes, OpenedPart]:
        """The batch's acceptable parts, by a name that is the same at all parties; bodies are valid until the next.

        Raises:
            ChannelBroken: for a frame that no coordinator sends.
            SpoolError: if the parts are not where the coordinator says.
        """
        lengths = frame.facts.get("lengths")
        if not isinstance(lengths, list):
            raise ChannelBroken("a batch without lengths")
        payload = self._spooled(frame.facts["spool"], lengths) if "spool" in frame.facts else frame.payload
        self._used_rooms = 0
        opened = [self._open(part) for part in split_payload(payload, lengths)]
        return {encode([part.message, ranges_of(part.clients)]): part for part in opened if part is not None}

    def _open(self, part: memoryview) -> OpenedPart | None:
        spec = self._spec
        room = None if self._rank or len(part) < self._body_bytes else self._room()
        try:
            opened = open_part(part, spec, self._deployment, self._rank, self._sealing_key, room)
            if len(opened.clients) > 1 and (opened.noise_shares or spec.norm_bound):
                raise MessageRefused("a joint message in a round that looks at each client by itself")
            self._round.admit(opened.clients)
        except MessageRefused as refusal:
            self._refused(refusal.reason)
            return None
        return opened

    def _room(self) -> bytearray:
        if self._used_rooms == len(self._rooms):
            self._rooms.append(bytearray(self._body_bytes))
        self._used_rooms += 1
        return self._rooms[self._used_rooms - 1]

    def _spooled(self, place: Any, lengths: list[Any]) -> memoryview:
        if self._spool is None:
            raise SpoolError("this party has no spool; send it the parts themselves")
        if not (isinstance(place, list) and len(place) == 2):
            raise ChannelBroken("a place in the spool that is none")
        return self._spool.read(SpooledParts(place[0], place[1], tuple(lengths)), MAX_PAYLOAD)
