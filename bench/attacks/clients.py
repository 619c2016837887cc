"""A server against real client nodes: what it broadcasts, what it says of the terms, how often it asks.

Nodes are those of a deployment under Flower, with keys and configurations of their own; only Flower's transport is left
out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.attacks.attack import Attack, Check, Outcome
from bench.attacks.openings import NOTHING, ONCE, TERMS, VICTIM
from bench.attacks.server import Server, cancelling_task, configuration
from bench.attacks.stage import Stage
from bench.small_run import small_task
from fl_core import cohort
from fl_core.broadcast import broadcast_digest, frozen_digest
from fl_core.cohort import Diagnostics, cohort_contributions
from fl_core.config import RunConfig
from fl_core.engines.flower import sealing
from fl_core.engines.flower.answers import AnswerBook
from fl_core.engines.flower.client import ClientNode
from fl_core.engines.flower.sealing import Sealing
from fl_core.private_gradient import PrivateGradient
from fl_core.task import FederatedTask
from secagg.randomness import Keystream

__all__ = ["ATTACKS"]

_SERVER = "server"
_ASKED = 40  # times, by a server that averages noise away
_DATA_SETS = 16
_CANCELLING = 1e5  # of the adapter in which large numbers cancel


def _refused(question: Callable[[Server], Mapping[str, Any]], config: RunConfig | None = None) -> Any:
    """One question, which wins if it is answered with parts."""

    def run(folder: Path) -> Outcome:
        with Stage(folder) as stage:
            server = Server(stage, config or configuration())
            answer = server.ask(**question(server))
            return Outcome("refused" not in answer, "an answer", (str(answer.get("refused", "")),))

    return run


def _bytes(value: float, length: int | None = None) -> Callable[[Server], Mapping[str, Any]]:
    return lambda server: {"theta": torch.full((length or len(server.initial),), value)}


def _huge(folder: Path) -> Outcome:
    """An adapter at which gradients are thousands of times their usual size."""
    with Stage(folder) as stage:
        server = Server(stage, configuration(noise=None))
        theta, name = server.initial + 1e3, stage.new_run()
        spec = server.spec(name, theta)
        found = stage.total(spec, server.with_own(spec, server.ask(theta, name)))
        most = len(server.task.clients[VICTIM]) * server.plan.noise.clip_steps
        norm = float(np.linalg.norm(found.astype(float)))
        said = f"measured: a clipped vector of norm {norm:,.0f}, at most {most:,} grid steps for this client's records"
        won = norm > most
        return Outcome(won, f"a vector of norm {norm:,.0f} where {most:,} is allowed", () if won else (said,))


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


def _filed_elsewhere(told: Callable[[Server], str]) -> Callable[[Path], Outcome]:
    """The parties are told of a model that the client did not compute on."""

    def run(folder: Path) -> Outcome:
        with Stage(folder) as stage:
            server, name = Server(stage, configuration()), stage.new_run()
            spec = server.spec(name)
            other = dataclasses.replace(spec, model=told(server))
            found = stage.opened(other, server.with_own(other, server.ask(run=name)))
            won = found is not None and VICTIM in found[1]
            gained = "a sum that parties compare with those of another model"
            return Outcome(won, gained if won else NOTHING, stage.said)

    return run


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


def _oracle(folder: Path) -> Outcome:
    """An adapter in which large numbers cancel, so that rounding decides whether a check of the records passes."""
    config = configuration(lora={"rank": 4, "alpha": 4.0, "targets": ["fc"]}, flower={"answers": _DATA_SETS})
    generator = torch.Generator().manual_seed(5)
    v, u = torch.randn(1, 128, generator=generator), torch.randn(10, 1, generator=generator)
    a = v + torch.randn(4, 128, generator=generator) / _CANCELLING
    b = u * _CANCELLING * torch.tensor([1.0, -1.0, 1.0, -1.0])
    theta = torch.cat([a.flatten(), b.flatten()])
    with Stage(folder) as stage:
        answers = []
        for data in range(_DATA_SETS):
            answers.append(Server(stage, config, partial(cancelling_task, data=data)).ask(theta, "run"))
        shapes = {tuple(sorted((name, len(part)) for name, part in answer.items())) for answer in answers}
        refused = sum("refused" in answer for answer in answers)
        told = f"{refused} of {_DATA_SETS} data sets refused, the others answered: a bit of the records, without noise"
        alike = (
            f"measured: {_DATA_SETS - refused} of {_DATA_SETS} data sets are answered, with parts of the same lengths"
        )
        return Outcome(len(shapes) > 1, told, (alike,))


def _another_base(server: Server) -> str:
    return broadcast_digest("0" * 64, server.initial)


def _another_adapter(server: Server) -> str:
    return broadcast_digest(frozen_digest(server.task.model), server.initial + 1)


def _poisoned(folder: Path) -> Outcome:
    """One record whose features are not numbers, among sound ones."""
    with Stage(folder) as stage:
        config = configuration(noise=None)
        sound, bad = (Server(stage, config, partial(_with_record, value=value)) for value in (None, float("nan")))
        name = stage.new_run()
        spec = bad.spec(name)
        found = bad.read(spec, bad.message(bad.ask(run=name)))
        said = "measured: the record counts as zero, and the others as without it"
        equal = np.array_equal(found, sound.truth())
        return Outcome(not equal, "a sum that is no number, or another one", (said,) if equal else ())


def _with_record(config: RunConfig, value: float | None) -> FederatedTask:
    """The task with client 0's first record left out, or with features of this value."""
    task = small_task(config)
    first, *others = task.clients
    if value is None:
        return dataclasses.replace(task, clients=(first[1:], *others))

    def batch(records: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        x, labels = task.batch(records)
        x[torch.from_numpy(records == first[0])] = value
        return x, labels

    return dataclasses.replace(task, batch=batch)


def _any_theta(self: Sealing, data: bytes) -> Tensor:
    return torch.from_numpy(np.frombuffer(data, "<f4").astype(np.float32))


def _any_terms(self: ClientNode, facts: Mapping[str, Any]) -> Any:
    return facts["clients"]


def _unbounded(model: nn.Module, norm: float, scale: float | None = None, checked: bool = False) -> PrivateGradient:
    return PrivateGradient(model, 1e4 * norm, scale, checked=checked)


def _checked_on_theirs(self: Sealing, theta: Tensor, client: int, own: Keystream, clip: Any) -> Any:
    """As it was before: the records are looked at with the adapter that was sent, and what goes wrong is refused."""
    return cohort_contributions(self._task, theta, [client], [own], self._config, clip, Diagnostics()).totals[0]


class _SameKey(Keystream):
    """As it was before: one key for all answers of a process."""

    @classmethod
    def system(cls) -> Keystream:
        """The same stream every time."""
        return Keystream.from_key(bytes(32))


_THETA = Check("the node's look at the adapter", ((Sealing, "_theta", _any_theta),), "could not compute")

ATTACKS = (
    Attack(
        "nan", _SERVER, "broadcasts an adapter of NaN", "client", "an adapter that is not finite",
        _refused(_bytes(float("nan"))), _THETA,
    ),
    Attack(
        "infinite", _SERVER, "broadcasts an adapter with infinite weights", "client", "an adapter that is not finite",
        _refused(_bytes(float("inf"))), _THETA,
    ),
    Attack(
        "dimension", _SERVER, "broadcasts an adapter of another rank, whose gradients would have another length",
        "client", r"an adapter of 96 bytes; this model's has 64", _refused(_bytes(0.1, 24)), _THETA,
    ),
    Attack(
        "huge", _SERVER, "broadcasts weights at which gradients are thousands of times larger, without noise", "client",
        r"measured: a clipped vector of norm", _huge,
        Check("clipping at the client", ((cohort, "PrivateGradient", _unbounded),)),
    ),
    Attack(
        "oracle", _SERVER, "broadcasts weights in which large numbers cancel, and sees whether the client can compute",
        "client", rf"measured: {_DATA_SETS} of {_DATA_SETS} data sets are answered", _oracle,
        Check("answering whether or not it could compute", ((Sealing, "_contribution", _checked_on_theirs),)),
    ),
    Attack(
        "other-base", _SERVER, "sends an adapter for another base model, and names that base to the parties", "party",
        r"a part for other terms \(model", _filed_elsewhere(_another_base), TERMS,
    ),
    Attack(
        "one-of-its-own", _SERVER, "broadcasts another adapter to one client than to all others", "party",
        r"a part for other terms \(model", _filed_elsewhere(_another_adapter), TERMS,
    ),
    Attack(
        "less-noise", _SERVER, "asks on the terms of a configuration with a tenth of the noise", "client",
        "the ServerApp has another configuration or deployment than this node", _less_noise,
        Check("the comparison of terms", ((ClientNode, "_asked", _any_terms),), "is that of its own configuration"),
    ),
    Attack(
        "other-clipping", _SERVER, "sends no terms, a clip norm of its own and nothing else", "client",
        "another configuration or deployment", _refused(lambda server: {"terms": "", "clip_norm": 1e9}),
    ),
    Attack(
        "no-norm", _SERVER, "under adaptive clipping, tells a clip norm of infinity", "client",
        r"clip_norm is inf; allowed: a number above 0", _refused(
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
        _refused(lambda server: {"round": 3}),
    ),
    Attack(
        "another-client", _SERVER, "asks a node for another client's message", "client",
        r"clients \[1\] are asked for; this node has \[0\]", _refused(lambda server: {"clients": [1]}),
    ),
    Attack(
        "nan-record", "client", "has a record whose features are NaN", "client", "measured: the record counts as zero",
        _poisoned,
    ),
)  # fmt: skip
