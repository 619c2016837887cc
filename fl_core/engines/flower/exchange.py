"""What ServerApp and nodes say to each other, whatever carries it: questions, answers, and the terms both must hold.

A message is a flat mapping of names to plain values. An answer of a client has sealed parts and nothing else: no loss,
no count, no norm. Nothing that arrives is trusted: `take` gives a value of the right type or a refusal.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

from fl_core.config import RunConfig
from fl_core.config_file import to_dict
from secagg.errors import SottoError

__all__ = ["HELLO", "RELAY", "TRAIN", "Facts", "Questions", "Refusal", "Relay", "Value", "take", "terms_of"]

# Flower's own names of message types: a category, and for queries an action.
HELLO = "query.hello"  # who are you, and on what terms
TRAIN = "train"  # this round's sealed messages of your clients, please
RELAY = "query.accumulate"  # to an aggregator node: put these sealed parts where your party reads them

_VERSION = 1
# How each side uses its machine is its own business, as are the parties' addresses, where the ServerApp counts and whom
# it tells of rounds.
_OWN = ("engine", "flower", "tracking")
_OWN_KEYS = {"aggregation": ("deployment", "timeout_s"), "privacy": ("budget",)}

Value = int | float | str | bytes | list[int]
Facts = Mapping[str, Value]
Questions = Mapping[int, tuple[str, Facts]]
Kind = TypeVar("Kind")


class Refusal(SottoError):
    """A question that a node does not answer; the sentence is about the question alone, so it may be told."""


class Relay(Protocol):
    """Carries questions to nodes and answers back."""

    def nodes(self) -> list[int]:
        """Ids of the nodes that are connected."""

    def ask(
        self, questions: Questions, seconds: float, more: Callable[[], Questions | None] | None = None
    ) -> Iterator[tuple[int, dict[str, Any] | None]]:
        """Put each node its question; yield answers as they come, until all are there or the time is over.

        An answer that could not be read, or that says that the node failed, is None. Whoever stops listening gets no
        later answers: they are dropped.

        Args:
            questions: by node.
            seconds: longest wait.
            more: called now and then while waiting, for questions to nodes that have come since; None ends the wait.
                The time is used up with it, unless the caller stops listening.
        """


def terms_of(config: RunConfig, deployment: bytes) -> str:
    """Hexadecimal digest of what ServerApp and clients must hold alike: the configuration and the deployment.

    The ledger accounts for what the ServerApp's configuration says, and the clients do what theirs says.
    """
    plain = {name: section for name, section in to_dict(config).items() if name not in _OWN}
    for name, own in _OWN_KEYS.items():
        plain[name] = {key: value for key, value in plain[name].items() if key not in own}
    agreed = json.dumps([_VERSION, plain, deployment.hex()], sort_keys=True)
    return hashlib.sha256(agreed.encode()).hexdigest()


def take(facts: Mapping[str, Any], name: str, kind: type[Kind]) -> Kind:
    """The value of `name`, which must be exactly a `kind`.

    Raises:
        Refusal: if it is missing or something else.
    """
    value = facts.get(name)
    if type(value) is not kind:
        raise Refusal(f"{name} is {type(value).__name__}; allowed: {kind.__name__}")
    return value
