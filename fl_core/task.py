"""What a federated experiment consists of, once data and model are there.

A frozen description that the engines run; it never holds a privacy decision or randomness.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from peft import PeftModel

from fl_core.gradients.sample_losses import LossFunction

__all__ = ["PUBLIC", "WHOLE", "FederatedTask", "InWords", "Protected"]

PUBLIC = "public test data"

WHOLE = "whole/"  # prefix of scores on all of the test data, beside those on the part that every round is scored on


@dataclass(frozen=True)
class Protected:
    """What a task protects, in words, so that the ledgers of several runs tell whether they are about the same.

    Attributes:
        data: name of the data set, where the name settles the content; empty: not known.
        record: what one record is; two tasks on the same data say the same only if their records are the same.
        client: likewise, what one client's records are.
    """

    data: str = ""
    record: str = ""
    client: str = ""


@dataclass(frozen=True)
class InWords:
    """What a reader of the results is told of a task; public numbers only.

    Attributes:
        learns: what the adapter learns on top of what, beginning with "to"; empty: not said.
        record: what one record is, for whom it must be told; empty: not said.
        scored_on: what the scores are of.
        about: what the data is, one of the task's notes that is no warning; empty: not said.
    """

    learns: str = ""
    record: str = ""
    scored_on: str = PUBLIC
    about: str = ""


@dataclass(frozen=True)
class FederatedTask:
    """A model with its adapter, records divided over clients, and how to score.

    Attributes:
        name: for tables and figures.
        model: frozen base with a trainable adapter.
        clients: record indices of each client, `[n_i]` int64; an empty client is legal.
        batch: record indices -> the model's inputs, as `fl_core.batches.forward` takes them.
        loss: `(model_output, inputs) -> [b]`, one loss per sample.
        evaluate: scores of the model on test data that no client holds, `accuracy` among them.
        evaluate_whole: as `evaluate`, on all of the test data where that was too much for every round; before the first
            and after the last round.
        source: where the records come from, in words.
        notes: what a reader of the results must know (a stand-in data set, say).
        protected: what the records are.
        in_words: what readers are told of it.
    """

    name: str
    model: PeftModel
    clients: tuple[NDArray[np.int64], ...] = field(repr=False)
    batch: Callable[[NDArray[np.int64]], Any]
    loss: LossFunction
    evaluate: Callable[[PeftModel], dict[str, float]]
    source: str
    evaluate_whole: Callable[[PeftModel], dict[str, float]] | None = None
    notes: tuple[str, ...] = ()
    protected: Protected = Protected()
    in_words: InWords = InWords()

    @property
    def records(self) -> int:
        """Number of records over all clients; public, and part of the fixed denominator."""
        return sum(len(ids) for ids in self.clients)
