"""One party's side of a round: idle -> open -> closed (the set is agreed) -> summed -> revealed, and idle again.

`handle` maps each frame of the coordinator to an answer. Messages are added as they come, so that memory grows with
the vector and with one batch, never with clients times vector: parties 1, 2, ... tell party 0 whose seeds they hold,
party 0 adds only bodies of clients that all of them hold and tells them whom it added (`settle`), and they add the
masks of exactly those. The journal is written and synced before anything is revealed. Whatever goes wrong ends the
round with nothing opened. It must never write a share anywhere, and never send one to anyone but the other parties.

Ours and not independently reviewed.
"""

from __future__ import annotations

import enum
import hashlib
import logging
import time
from collections.abc import Callable

import torch
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from kernels.ring_encode import ring_decode
from secagg.deployment.terms import Deployment
from secagg.envelopes import OpenedPart
from secagg.errors import SottoError
from secagg.limits import DEFAULT_MAX_CLIENTS
from secagg.messages import RoundSpec
from secagg.noise_draws import draw_noise
from secagg.noise_removal import surplus_noise
from secagg.openings import OpeningRefused
from secagg.party.crypten_backend import open_sum
from secagg.party.dealer_provider import DealerClient
from secagg.party.frames import Channel, ChannelBroken, Frame
from secagg.party.intake import Intake
from secagg.party.journal import Journal
from secagg.party.mesh import Mesh, MeshBroken
from secagg.party.norm_check import norm_within
from secagg.party.open_round import OpenRound
from secagg.party.own_policy import refuse_by_policy
from secagg.party.share_sum import ShareSum
from secagg.party.spool import Spool
from secagg.party.surplus_seeds import surplus_seeds
from secagg.randomness import Keystream
from secagg.ring import add_wrap
from secagg.round_state import BelowMinimum, require_minimum
from secagg.wire import WireError, encode, ranges_of, spec_from_wire, spec_to_wire

__all__ = ["Party", "State", "round_label"]

logger = logging.getLogger(__name__)

_WORKING_S = 1.0
_LAG = 64  # batches; of those that wait only names and seeds are held


class State(enum.Enum):
    """Where a party is in a round."""

    IDLE = "idle"
    OPEN = "open"
    CLOSED = "closed"
    SUMMED = "summed"


class Party:
    """The state machine; one round at a time.

    Args:
        rank: 0 receives bodies, the others seeds.
        deployment: who the others are, who may send, and what this party agrees to.
        sealing_key: this party's private key.
        journal: of this party's openings and refusals.
        join: meets the other parties of the round with this label.
        report: tells the coordinator "heard" before this party starts to wait for the others, so that the silent one
            can be told from those that wait for it, and "working" now and then while an answer takes long.
        dealer: connects to the dealer of the round with this label; called for rounds with a norm check only.
        spool: where parts may be that the coordinator only names; None: it has to send them.
    """

    def __init__(
        self,
        rank: int,
        deployment: Deployment,
        sealing_key: X25519PrivateKey,
        journal: Journal,
        join: Callable[[bytes], Mesh],
        report: Callable[[str], None],
        dealer: Callable[[bytes], Channel],
        spool: Spool | None = None,
    ) -> None:
        self._rank, self._deployment, self._sealing_key = rank, deployment, sealing_key
        self._journal, self._join, self._report, self._dealer_of = journal, join, report, dealer
        self._spool = spool
        self._round: OpenRound | None = None
        self.forget()

    def handle(self, frame: Frame) -> Frame | None:
        """The answer to one frame, or None if it has none.

        Raises:
            ChannelBroken: for a frame that no coordinator sends in this state.
        """
        steps: dict[str, tuple[State | None, Callable[[Frame], Frame | None]]] = {
            "open": (None, self._open),
            "batch": (State.OPEN, self._batch),
            "close": (State.OPEN, self._close),
            "reveal": (State.CLOSED, self._reveal),
        }
        if frame.kind not in steps:
            raise ChannelBroken(f"unknown frame {frame.kind[:20]!r}")
        wanted, step = steps[frame.kind]
        if wanted not in (None, self.state):
            if self._failure and frame.kind != "batch":
                return Frame("failed", {"reason": self._failure})
            if self._failure:
                return None  # the coordinator learns of it with its next question
            raise ChannelBroken(f"a frame {frame.kind!r} in state {self.state.value}")
        try:
            return step(frame)
        except (BelowMinimum, OpeningRefused) as refusal:
            return self._refuse("below" if isinstance(refusal, BelowMinimum) else "refused", str(refusal))
        except (SottoError, MeshBroken, WireError) as error:
            return self._fail(str(error), None if frame.kind == "batch" else "failed")

    def forget(self, failure: str = "") -> None:
        """Drop the round, its shares and its connections; legal in every state."""
        if self._round is not None:
            self._round.close()
        self._round, self._failure, self.state = None, failure, State.IDLE

    def _open(self, frame: Frame) -> Frame:
        self.forget()
        # What the policy does not allow is refused below, in a sentence of its own.
        most = max(self._deployment.policy.max_clients, DEFAULT_MAX_CLIENTS)
        spec = spec_from_wire(frame.facts.get("spec"), most)
        refuse_by_policy(spec, self._deployment)
        self._journal.openings.refuse_again(spec)
        self._report("heard")
        label = round_label(spec, self._deployment)
        intake = Intake(self._rank, spec, self._deployment, self._sealing_key, self._spool, self._log_refusal)
        opened = self._round = OpenRound(spec, self._join(label), intake, ShareSum(self._rank, spec))
        if spec.norm_bound:
            timeout_s = self._deployment.policy.timeout_s
            opened.dealer = DealerClient(self._dealer_of(label), self._rank, opened.mesh.parties, timeout_s)
        self.state = State.OPEN
        return Frame("opened")

    def _batch(self, frame: Frame) -> None:
        current, index = self._open_round(), frame.facts.get("index")
        if index != current.batches:
            raise ChannelBroken("a batch out of turn")
        current.batches += 1
        parts = current.intake.batch(frame)
        if self._rank:
            current.held[index] = parts
            current.mesh.send(0, "have", {"index": index, "held": list(parts)})
            # Party 0 works on the newest batches meanwhile; checking a norm takes everybody.
            self._settle_all_but(0 if current.spec.norm_bound else _LAG)
            return
        for other in current.mesh.others:
            if current.mesh.is_slow(other):
                self._report("heard")
            facts = current.mesh.receive(other, "have").facts
            everywhere = _names(facts.get("held"))
            if facts.get("index") != index or everywhere is None:
                raise MeshBroken(f"party {other} is at another batch")
            for name in [name for name in parts if name not in everywhere]:
                self._log_refusal(f"client {parts.pop(name).clients[0]} did not reach party {other}")
        if not current.spec.norm_bound:
            # First the sum, then the word: nobody expands a mask for a body that was not added.
            self._add(parts)
        for other in current.mesh.others:
            current.mesh.send(other, "settle", {"index": index, "everywhere": list(parts)})
        if current.spec.norm_bound:
            self._add(parts)

    def _settle_all_but(self, newest: int) -> None:
        """Parties 1, 2, ...: add the masks of clients that are everywhere, of all batches but the newest few."""
        current = self._open_round()
        while current.batches - current.settled > newest:
            facts = current.mesh.receive(0, "settle").facts
            everywhere = _names(facts.get("everywhere"))
            if facts.get("index") != current.settled or everywhere is None:
                raise MeshBroken("party 0 settled another batch")
            held = current.held.pop(current.settled)
            current.settled += 1
            if not held.keys() >= everywhere.keys():
                raise MeshBroken("party 0 settled a client whose seed is not here")
            self._add({name: held[name] for name in everywhere})

    def _add(self, parts: dict[bytes, OpenedPart]) -> None:
        """Add shares that all parties hold, in the same order everywhere, each once its norm is found small enough."""
        current = self._open_round()
        bound = current.spec.norm_bound
        for name, part in parts.items():
            if bound:
                assert current.dealer is not None
                self._working()
                if not norm_within(current.mesh, current.dealer, current.sum.vector_of(part), bound, name):
                    self._log_refusal(f"client {part.clients[0]} sent a vector of norm above {bound} grid steps")
                    continue
            current.sum.add(part)
            current.accepted.update(part.clients)
            if part.noise_shares:
                current.noise_shares[part.clients[0]] = part.noise_shares

    def _close(self, frame: Frame) -> Frame:
        current = self._open_round()
        self._report("heard")
        if self._rank:
            self._settle_all_but(0)
        clients = frozenset(current.accepted)
        digest = hashlib.sha256(encode(ranges_of(clients))).digest()
        for other, answer in current.mesh.exchange("agree", {"clients": digest}).items():
            if answer.facts.get("clients") != digest:
                raise MeshBroken(f"party {other} holds other clients; the parties disagree, nothing was opened")
        require_minimum(current.spec, clients)
        self._journal.openings.refuse_close_sets(current.spec, clients, self._deployment.policy.min_difference)
        self.state = State.CLOSED
        return Frame("closed", {"clients": ranges_of(clients), "bytes": current.mesh.sent})

    def _reveal(self, frame: Frame) -> Frame:
        current = self._open_round()
        spec, mesh, clients = current.spec, current.mesh, frozenset(current.accepted)
        self._report("heard")
        # From here on this sum counts as opened, whatever happens next.
        self._journal.open(spec, clients)
        share = current.sum.share()
        seeds = surplus_seeds(mesh, spec, clients, current.noise_shares)
        if seeds:
            add_wrap(share, -surplus_noise(spec, len(clients), seeds, self._working))
        if spec.noise.aggregator_std:
            own = draw_noise(spec.noise.mechanism, spec.noise.aggregator_std, spec.length, Keystream.system())
            add_wrap(share, own)
        # Carries above the ring's bits would tell something of this share alone.
        share = ring_decode(torch.from_numpy(share), spec.bits).numpy()
        self.state = State.SUMMED
        total = ring_decode(torch.from_numpy(open_sum(mesh, share)), spec.bits).numpy()
        sent = mesh.sent
        self.forget()
        facts = {"digest": hashlib.sha256(total.tobytes()).digest(), "bytes": sent}
        return Frame("sum", facts, total.tobytes() if self._rank == 0 else b"")

    def _working(self) -> None:
        """Tell everyone who waits, once a second, that this party is at work."""
        current = self._open_round()
        if time.monotonic() - current.reported > _WORKING_S:
            current.reported = time.monotonic()
            self._report("working")
            current.mesh.working()

    def _refuse(self, kind: str, reason: str) -> Frame:
        self._log_refusal(reason)
        self.forget(reason)
        return Frame(kind, {"reason": reason})

    def _fail(self, reason: str, kind: str | None) -> Frame | None:
        logger.warning("party %d: the round is lost: %s", self._rank, reason)
        self.forget(reason)
        return None if kind is None else Frame(kind, {"reason": reason})

    def _log_refusal(self, reason: str) -> None:
        self._journal.refused(reason, round=None if self._round is None else self._round.spec.round)

    def _open_round(self) -> OpenRound:
        """The round of a step, which `handle` takes in the states that have one."""
        assert self._round is not None
        return self._round


def _names(value: object) -> dict[bytes, None] | None:
    """Names of messages as another party sent them, in its order; None for anything else, and for a repeated one."""
    if not isinstance(value, list) or not all(isinstance(name, bytes) for name in value):
        return None
    names = dict.fromkeys(value)
    return names if len(names) == len(value) else None


def round_label(spec: RoundSpec, deployment: Deployment) -> bytes:
    """What parties join under: equal only if they were told the same round in every detail."""
    return hashlib.sha256(encode([deployment.digest, spec_to_wire(spec)])).digest()
