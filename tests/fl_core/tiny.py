"""A federated task of seconds: 80 records in 5 dimensions, three classes, one linear layer with LoRA."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from torch import nn

from fl_core.adapters import attach_adapter, flat_adapter
from fl_core.checkpoint import latest_checkpoint
from fl_core.config_file import parse_config
from fl_core.engines.local import LocalClients
from fl_core.engines.round_loop import RoundLoop
from fl_core.engines.worker_pool import WorkerPool
from fl_core.privacy.ledger import Ledger
from fl_core.privacy_plan import ledger_header, plan_privacy
from fl_core.run_folder import RunFolder
from fl_core.task import FederatedTask
from secagg import PlaintextAggregator, SmpcAggregator


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.fc = nn.Linear(5, 3)

    def forward(self, x):
        return self.fc(x)


def tiny_config(*overrides, **sections):
    base = {
        "lora": {"rank": 2, "alpha": 4, "targets": ["fc"]},
        "federation": {"clients": 8, "rounds": 6, "sample_rate": 0.5},
        "privacy": {"noise_multiplier": 1.0, "delta": 1e-3, "insecure_seed": 1},
        "server": {"optimizer": "momentum", "learning_rate": 0.5},
        "aggregation": {"backend": "plaintext"},
        "client": {"steps": 3, "batch_size": 4},
        **sections,
    }
    return parse_config(OmegaConf.create(base), list(overrides), "tiny")


def tiny_task(config, poison=None):
    """`poison`: a record whose features are NaN."""
    g = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (80,), generator=g)
    x = torch.randn(80, 5, generator=g) + 2 * F.one_hot(labels, 5)
    if poison is not None:
        x[poison] = float("nan")
    clients = tuple(np.array_split(np.arange(80), config.federation.clients))

    def batch(records):
        index = torch.from_numpy(records)
        return x[index], labels[index]

    def evaluate(model):
        with torch.no_grad():
            good = ~torch.isnan(x).any(1)
            return {"accuracy": float((model(x[good]).argmax(1) == labels[good]).float().mean())}

    return FederatedTask(
        name="tiny",
        model=attach_adapter(Net(), config.lora),
        clients=clients,
        batch=batch,
        loss=lambda output, inputs: F.cross_entropy(output, inputs[1], reduction="none"),
        evaluate=evaluate,
        source="made up",
    )


def run_tiny(path, config, aggregator=None, resume=False, on_round=lambda report: None, task=None, run=None):
    """Run (or resume) in folder `path` under the id `run`; returns (why it ended, the loop).

    Parties open no round of a run twice: with an aggregator that others use too, the folder's path names the run.
    """
    run = run or (str(path) if isinstance(aggregator, SmpcAggregator) else "run")
    task = task or tiny_task(config)
    with RunFolder(path, resume) as folder:
        plan = plan_privacy(config, len(flat_adapter(task.model)), task.records)
        start = latest_checkpoint(folder.checkpoints) if resume else None
        if resume:
            ledger = Ledger.resume(folder.ledger_path, (start.ledger_lines, start.ledger_head) if start else None)
        else:
            ledger = Ledger.create(folder.ledger_path, ledger_header(config, plan, run))
            folder.config_path.write_text("{}")
        with ledger, WorkerPool(task, config, plan, tiny_task) if config.engine.workers > 1 else nullcontext() as pool:
            source = LocalClients(task, config, plan, pool)
            loop = RoundLoop(task, config, plan, folder, ledger, aggregator or PlaintextAggregator(), start, source)
            return loop.run(on_round), loop
