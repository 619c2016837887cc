"""Local training of a cohort (unit client): clients together, one after another, and so by PEFT's own layers.

Same clients, batches and losses for all; each round trains every client for `STEPS` steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bench.lora_step.shapes import Shape, lora_model
from experiments.models import Cnn, CnnConfig
from fl_core.adapters import attach_adapter, flat_adapter
from fl_core.causal_lm import CausalLmLoss
from fl_core.config import ClientConfig, LoraSettings
from fl_core.local_training import local_updates
from fl_core.task import FederatedTask
from secagg.randomness import Keystream
from tests.fl_core.one_client import alone

STEPS = 2
TOKENS = 20
MINI = Shape(4, 192, 8192, 3)  # of the base that ships


@dataclass(frozen=True)
class Work:
    """Clients with equally many records: so many batches' worth as they train steps."""

    task: FederatedTask
    clients: int
    batch: int

    def together(self, samples: int) -> torch.Tensor:
        return local_updates(
            self.task, self._theta, self._records, self._config, [self._stream(i) for i in range(self.clients)], samples
        )

    def one_by_one(self) -> torch.Tensor:
        updates = [
            local_updates(self.task, self._theta, [own], self._config, [self._stream(i)], self.batch)
            for i, own in enumerate(self._records)
        ]
        return torch.cat(updates)

    def by_peft(self) -> torch.Tensor:
        return torch.stack(
            [alone(self.task, self._theta, own, self._config, self._stream(i)) for i, own in enumerate(self._records)]
        )

    @property
    def _theta(self) -> torch.Tensor:
        return flat_adapter(self.task.model)

    @property
    def _records(self) -> list[np.ndarray]:
        return list(self.task.clients)

    @property
    def _config(self) -> ClientConfig:
        return ClientConfig(steps=STEPS, batch_size=self.batch, learning_rate=0.01)

    def _stream(self, client: int) -> Keystream:
        return Keystream.seeded(client)


def images(targets: list[str], clients: int, batch: int) -> Work:
    """MNIST's sizes; with "fc" alone the features that its adapter sees are kept, as the experiment does."""
    torch.manual_seed(0)
    count, network = clients * batch * STEPS, Cnn(CnnConfig.for_images((28, 28)))
    x = torch.randn(count, 400) if targets == ["fc"] else torch.rand(count, 1, 28, 28)
    labels = torch.randint(0, 10, (count,))
    model = attach_adapter(network, LoraSettings(targets=targets))
    return _work(model, lambda some: (x[some], labels[some]), _cross_entropy, clients, batch)


def words(targets: str, clients: int, batch: int) -> Work:
    """Next-word prediction by a GPT-2 with the shipped base's sizes and random weights."""
    ids = torch.randint(0, MINI.vocabulary, (clients * batch * STEPS, TOKENS))
    model = lora_model(MINI, 8, targets, "cpu")
    return _work(model, lambda some: {"input_ids": ids[some], "labels": ids[some]}, CausalLmLoss(), clients, batch)


def _work(model, batch, loss, clients: int, size: int) -> Work:
    records = tuple(np.split(np.arange(clients * size * STEPS), clients))
    return Work(FederatedTask("bench", model, records, batch, loss, lambda _: {}, "random"), clients, size)


def _cross_entropy(output, inputs):
    return F.cross_entropy(output, inputs[1], reduction="none")


WORKS: dict[str, Callable[[], Work]] = {
    "images, kept features": lambda: images(["fc"], 32, 32),
    "images, all layers": lambda: images(["conv1", "conv2", "fc"], 16, 8),
    "next word, 16 a batch": lambda: words("all", 16, 16),
    "next word, 2 a batch": lambda: words("all", 32, 2),
}


@pytest.fixture(scope="module", params=WORKS)
def case(request):
    return request.param, WORKS[request.param]()


@pytest.mark.parametrize("method", ["PEFT, one after another", "one after another", "64 rows", "256 rows", "1024 rows"])
def test_local_training(benchmark, case, method):
    name, work = case
    methods: dict[str, Callable[[], torch.Tensor]] = {
        "PEFT, one after another": work.by_peft,
        "one after another": work.one_by_one,
        **{f"{rows} rows": lambda rows=rows: work.together(rows) for rows in (64, 256, 1024)},
    }
    benchmark.group = f"local training of {work.clients} clients, {name}"
    found = benchmark.pedantic(methods[method], rounds=3, warmup_rounds=1)
    assert found.shape == (work.clients, len(flat_adapter(work.task.model)))
