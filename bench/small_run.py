"""A run with rounds of milliseconds, for harnesses that need hundreds: to kill, to attack, to search for secrets.

80 made-up records in 5 dimensions, three classes, 8 clients, one linear layer with LoRA. Everything else is what
`sotto run` does. Test mode (`privacy.insecure_seed`), so that a resumed run can be compared with an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from omegaconf import OmegaConf
from torch import Tensor, nn

from fl_core.adapters import attach_adapter
from fl_core.config import RunConfig
from fl_core.config_file import parse_config
from fl_core.task import FederatedTask

__all__ = ["small_config", "small_task"]

_RECORDS, _FEATURES, _CLASSES = 80, 5, 3


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc = nn.Linear(_FEATURES, _CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.fc(x)
        return found


def small_config(rounds: int = 10, deployment: Path | None = None, **sections: dict[str, Any]) -> RunConfig:
    """The configuration, plaintext or under SMPC with the two parties of `deployment`."""
    aggregation: dict[str, Any] = {"backend": "plaintext"}
    if deployment is not None:
        aggregation = {"parties": 2, "deployment": str(deployment), "timeout_s": 20.0, "retries": 2}
    base = {
        "lora": {"rank": 2, "alpha": 4.0, "targets": ["fc"]},
        "federation": {"clients": 8, "rounds": rounds, "sample_rate": 0.5},
        "privacy": {"noise_multiplier": 1.0, "delta": 1e-3, "insecure_seed": 1},
        "server": {"optimizer": "adam", "learning_rate": 0.1},
        "aggregation": aggregation,
        "engine": {"threads": 1, "cohort_size": 4},
        **sections,
    }
    return parse_config(OmegaConf.create(base), [], "the small run")


def small_task(config: RunConfig, on_progress: Callable[[str], None] = lambda _: None) -> FederatedTask:
    """The task, the same in every life and every worker; arguments as `experiments.tasks.build_task`."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, _CLASSES, (_RECORDS,), generator=generator)
    x = torch.randn(_RECORDS, _FEATURES, generator=generator) + 2 * F.one_hot(labels, _FEATURES)

    def batch(records: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        index = torch.from_numpy(records)
        return x[index], labels[index]

    def evaluate(model: nn.Module) -> dict[str, float]:
        with torch.no_grad():
            scores = model(x)
            right = float((scores.argmax(1) == labels).float().mean())
            return {"accuracy": right, "test_loss": float(F.cross_entropy(scores, labels))}

    return FederatedTask(
        name="made up",
        model=attach_adapter(_Net(), config.lora),
        clients=tuple(np.array_split(np.arange(_RECORDS), config.federation.clients)),
        batch=batch,
        loss=lambda output, inputs: F.cross_entropy(output, inputs[1], reduction="none"),
        evaluate=evaluate,
        source="made up",
    )
