"""A server against real client nodes, by what it says of the terms and by how often it asks.

Nodes are those of a deployment under Flower, with keys and configurations of their own; only Flower's transport is left
out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.attacks.attack import NOTHING, Attack, Check, Outcome
from bench.attacks.checks import ONCE
from bench.attacks.server import Server, configuration, refused
from bench.attacks.stage import Stage
from fl_core.engines.flower import sealing
from fl_core.engines.flower.answers import AnswerBook
from fl_core.engines.flower.client import ClientNode
from secagg.randomness import Keystream

__all__ = ["ATTACKS"]

_SERVER = "server"
_ASKED = 40  # times, by a server that averages noise away


def _averaged(folder: Path) -> Outcome:
    """The same records again and again under new names of runs, beside clients of the server's own."""
    with Stage(folder) as stage:
        server = Server(stage, configuration(noise=2.0))
        truth, sums, said = server.truth(), [], []
        for _ in range(_ASKED):
            name = stage.new_run()
            answer = server.ask(run=name)
            if "refused" in answer:
                said.append(answer["refused"])
                break
            spec = server.spec(name)
            sums.append(stage.total(spec, server.with_own(spec, answer)))
        error = float(np.linalg.norm(np.mean(sums, 0) - truth) / np.linalg.norm(truth))
        gained = f"client 0's vector up to {error:.0%} of its norm, from {len(sums)} sums"
        return Outcome(error < 0.6, gained, tuple(said))


def _asked_twice(folder: Path) -> Outcome:
    """Two answers for one attempt, for a sum each: noise drawn twice over the same records, and no second entry."""
    with Stage(folder) as stage:
        server = Server(stage, configuration())
        name = stage.new_run()
        spec, answers = server.spec(name), [server.ask(run=name) for _ in range(2)]
        sums = [stage.total(spec, server.with_own(spec, answer)) for answer in answers]
        won = sums[1] is not None and not np.array_equal(sums[0], sums[1])
        return Outcome(won, "two sums of the same records with a noise each" if won else NOTHING, stage.said)


def _subtracted(folder: Path) -> Outcome:
    """One process is asked for one round of two runs, over two adapters: is its noise the same in both?"""
    with Stage(folder) as stage:
        server, sums, truths = Server(stage, configuration()), [], []
        for theta in (server.initial, server.initial + 0.5):
            name = stage.new_run()
            spec = server.spec(name, theta)
            sums.append(stage.total(spec, server.with_own(spec, server.ask(theta, name))))
            truths.append(server.truth(theta))
        rest = (sums[1] - sums[0]) - (truths[1] - truths[0])
        share = np.std(rest) / server.plan.noise.client_std
        said = f"measured: fresh noise, {share:.2f} of one message's in the difference"
        won = not rest.any()
        return Outcome(won, "the exact change of client 0's vector" if won else NOTHING, () if won else (said,))


def _less_noise(folder: Path) -> Outcome:
    """The terms of a configuration with a tenth of the noise, instead of the client's own."""
    with Stage(folder) as stage:
        server = Server(stage, configuration())
        lower = Server(stage, configuration(noise=0.4))
        truth, planned, drawn = server.truth(), server.plan.noise.client_std, []
        for _ in range(2):
            name = stage.new_run()
            answer = server.ask(run=name, terms=lower.terms)
            if "refused" in answer:
                return Outcome(False, NOTHING, (str(answer["refused"]),))
            spec = server.spec(name)
            drawn.append(server.read(spec, server.message(answer)) - truth)
        measured = float(np.std(drawn))
        own = f"measured: the client's noise is that of its own configuration: {measured / planned:.2f} of it measured"
        return Outcome(measured < 0.5 * planned, "a message with less noise", (own,))


def _any_terms(self: ClientNode, facts: Mapping[str, Any]) -> Any:
    return facts["clients"]


class _SameKey(Keystream):
    """As it was before: one key for all answers of a process."""

    @classmethod
    def system(cls) -> Keystream:
        """The same stream every time."""
        return Keystream.from_key(bytes(32))


ATTACKS = (
    Attack(
        "less-noise", _SERVER, "asks on the terms of a configuration with a tenth of the noise", "client",
        "the ServerApp has another configuration or deployment than this node", _less_noise,
        Check("the comparison of terms", ((ClientNode, "_asked", _any_terms),), "is that of its own configuration"),
    ),
    Attack(
        "other-clipping", _SERVER, "sends no terms, a clip norm of its own and nothing else", "client",
        "another configuration or deployment", refused(lambda server: {"terms": "", "clip_norm": 1e9}),
    ),
    Attack(
        "no-norm", _SERVER, "under adaptive clipping, tells a clip norm of infinity", "client",
        r"clip_norm is inf; allowed: a number above 0", refused(
            lambda server: {"clip_norm": float("inf")},
            configuration(privacy={"noise_multiplier": 4.0, "delta": 1e-3, "clipping": "adaptive"}),
        ),
    ),
    Attack(
        "asked-twice", _SERVER, "asks a client twice for one attempt, and opens it over each answer", "party",
        r"was opened before; a sum is opened once", _asked_twice, ONCE,
    ),
    Attack(
        "averaged", _SERVER, f"asks {_ASKED} times under new names of runs, and averages the noise away", "client",
        r"client 0 has answered 2 times under this configuration, and agreed to 2", _averaged,
        Check("the client's count of its answers", ((AnswerBook, "count", lambda self, *_: None),)),
    ),
    Attack(
        "subtracted", _SERVER, "asks one process for the same round of two runs, and subtracts what it opens", "client",
        "measured: fresh noise", _subtracted,
        Check("fresh randomness for every answer", ((sealing, "Keystream", _SameKey),)),
    ),
    Attack(
        "later-round", _SERVER, "asks for a round beyond the last", "client", "the run has rounds 1 to 2",
        refused(lambda server: {"round": 3}),
    ),
    Attack(
        "another-client", _SERVER, "asks a node for another client's message", "client",
        r"clients \[1\] are asked for; this node has \[0\]", refused(lambda server: {"clients": [1]}),
    ),
)  # fmt: skip
