"""Flower's client of `bench.rounds`: one client's step on its own records, in whichever actor it lands.

In Flower's favour: an actor builds the model once and not for every message, records are mapped from files that all
actors share, and messages carry the adapter only. In a module of its own, so that actors import it and keep what it
caches.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.mod import fixedclipping_mod
from numpy.typing import NDArray
from torch import nn

from bench.rounds.work import Work, adapted_model, load_work, local_step, trainable

__all__ = ["app", "clipped_app"]


@cache
def _loaded(folder: str, threads: int) -> tuple[Work, nn.Module, NDArray[Any], NDArray[Any]]:
    torch.set_num_threads(threads)
    work = load_work(Path(folder))
    return work, adapted_model(work), *work.records(mapped=True)


def train(message: Message, context: Context) -> Message:
    """The adapter after this client's step."""
    config = message.content["config"]
    assert isinstance(config, ConfigRecord)
    work, model, x, y = _loaded(str(config["folder"]), int(config["threads"]))  # type: ignore[arg-type]
    client = int(context.node_config["partition-id"])
    parameters = trainable(model)
    received = message.content["arrays"]
    assert isinstance(received, ArrayRecord)
    with torch.no_grad():
        for name, value in received.to_torch_state_dict().items():
            parameters[name].copy_(value)
    local_step(model, torch.tensor(x[client]), torch.tensor(y[client]), work.learning_rate)
    arrays = ArrayRecord({name: parameter.detach() for name, parameter in parameters.items()})
    metrics = MetricRecord({"num-examples": len(y[client])})
    return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)


app = ClientApp()
app.train()(train)
clipped_app = ClientApp(mods=[fixedclipping_mod])
clipped_app.train()(train)
