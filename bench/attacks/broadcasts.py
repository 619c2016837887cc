"""A server against real client nodes, by the adapter that it broadcasts: odd values, odd shapes, another to one client.

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
from torch import Tensor, nn

from bench.attacks.attack import NOTHING, VICTIM, Attack, Check, Outcome
from bench.attacks.checks import TERMS
from bench.attacks.server import Server, cancelling_task, configuration, refused
from bench.attacks.stage import Stage
from fl_core import cohort
from fl_core.cohort import Diagnostics, cohort_contributions
from fl_core.engines.flower.sealing import Sealing
from fl_core.gradients.private_gradient import PrivateGradient
from fl_core.model_digest import broadcast_digest, frozen_digest
from secagg.randomness import Keystream

__all__ = ["ATTACKS"]

_SERVER = "server"
_DATA_SETS = 16
_CANCELLING = 1e5  # of the adapter in which large numbers cancel


def _filled(value: float, length: int | None = None) -> Callable[[Server], Mapping[str, Any]]:
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


def _another_base(server: Server) -> str:
    return broadcast_digest("0" * 64, server.initial)


def _another_adapter(server: Server) -> str:
    return broadcast_digest(frozen_digest(server.task.model), server.initial + 1)


def _any_theta(self: Sealing, data: bytes) -> Tensor:
    return torch.from_numpy(np.frombuffer(data, "<f4").astype(np.float32))


def _unbounded(model: nn.Module, norm: float, scale: float | None = None, checked: bool = False) -> PrivateGradient:
    return PrivateGradient(model, 1e4 * norm, scale, checked=checked)


def _checked_on_theirs(self: Sealing, theta: Tensor, client: int, own: Keystream, clip: Any) -> Any:
    """As it was before: the records are looked at with the adapter that was sent, and what goes wrong is refused."""
    return cohort_contributions(self._task, theta, [client], [own], self._config, clip, Diagnostics()).totals[0]


_THETA = Check("the node's look at the adapter", ((Sealing, "_theta", _any_theta),), "could not compute")

ATTACKS = (
    Attack(
        "nan", _SERVER, "broadcasts an adapter of NaN", "client", "an adapter that is not finite",
        refused(_filled(float("nan"))), _THETA,
    ),
    Attack(
        "infinite", _SERVER, "broadcasts an adapter with infinite weights", "client", "an adapter that is not finite",
        refused(_filled(float("inf"))), _THETA,
    ),
    Attack(
        "dimension", _SERVER, "broadcasts an adapter of another rank, whose gradients would have another length",
        "client", r"an adapter of 96 bytes; this model's has 64", refused(_filled(0.1, 24)), _THETA,
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
)  # fmt: skip
