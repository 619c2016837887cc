"""A cell of `bench.rounds` in Sotto: `python -m bench.rounds.sotto JSON`.

The local engine as `sotto run` starts it, with workers if a cell has processes, a run folder, a ledger and an
aggregator, from a shipped configuration and overrides. Only the records (the peers' files instead of a data set) and
the scores (none) are replaced. The model is Sotto's own.
"""

from __future__ import annotations

import sys
import tempfile
import uuid
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from peft import PeftModel
from torch import Tensor, nn

from bench.rounds.report import Clock, Task, finish, task_of
from bench.rounds.work import Work, load_work
from experiments.language.bases import load_base
from experiments.models import Cnn, CnnConfig
from fl_core.adapters import attach_adapter
from fl_core.causal_lm import CausalLmLoss
from fl_core.config import RunConfig
from fl_core.config_file import load_config, save_config
from fl_core.engines.local import LocalClients
from fl_core.engines.round_loop import RoundLoop
from fl_core.engines.worker_pool import WorkerPool
from fl_core.frozen_prefix import PREFIX_STATES, frozen_prefix
from fl_core.host_memory import keep_freed_memory
from fl_core.privacy.ledger import Ledger
from fl_core.privacy_plan import ledger_header, plan_privacy
from fl_core.run_folder import RunFolder
from fl_core.task import FederatedTask
from secagg import PlaintextAggregator, SmpcAggregator

_CONFIGS = {"mnist": "mnist.yaml", "next_word": "next_word.yaml"}


def configuration(task: Task, work: Work) -> RunConfig:
    """The shipped configuration with one user as the protected unit, every client in every round, one local step."""
    overrides = [
        "privacy.unit=client",
        f"privacy.trust={task.privacy}",
        "privacy.epsilon=null",
        f"privacy.noise_multiplier={'null' if task.privacy == 'none' else task.noise_multiplier}",
        f"privacy.clip_norm={task.clip_norm}",
        f"federation.clients={task.clients}",
        f"federation.rounds={task.rounds}",
        "federation.sample_rate=1.0",
        "client.steps=1",
        f"client.batch_size={len(np.load(work.folder / 'y.npy', mmap_mode='r')[0])}",
        f"client.learning_rate={work.learning_rate}",
        "server.optimizer=sgd",
        "server.learning_rate=1.0",
        f"lora.rank={work.rank}",
        f"lora.alpha={work.alpha}",
        f"aggregation.backend={'smpc' if task.parties else 'plaintext'}",
        *([f"aggregation.parties={task.parties}"] if task.parties else []),
        f"engine.threads={task.threads}",
        f"engine.workers={task.processes}",
        f"engine.cohort_size={'null' if task.processes == 1 else -(-task.clients // task.processes)}",
        f"engine.keep_features={'true' if work.inputs == 'stored' else 'false'}",
        "engine.device=cpu",
    ]
    path = Path(str(files("experiments") / "configs" / _CONFIGS[work.kind]))
    return load_config(path, overrides)


def task_again(task: Task, config: RunConfig) -> FederatedTask:
    """The engine's task, for a worker."""
    return federated_task(task, load_work(task.folder), config)


def federated_task(task: Task, work: Work, config: RunConfig) -> FederatedTask:
    """The engine's task on the records of `work`; record k of client c has the number `c * records + k`."""
    x, y = (torch.from_numpy(part[: task.clients].reshape(-1, *part.shape[2:])) for part in work.records())
    model = _model(work, config)
    if work.kind == "next_word" and work.inputs == "stored" and frozen_prefix(model) is None:
        raise SystemExit("this model cannot start behind its frozen blocks")

    def batch(records: NDArray[np.int64]) -> Any:
        index = torch.from_numpy(records)
        if work.kind == "mnist":
            return x[index], y[index]
        if work.inputs == "raw":
            return {"input_ids": x[index], "labels": y[index]}
        # The ids are those of the labels; in the padding, which no loss sees, any will do.
        return {"input_ids": y[index].clamp(min=0), "labels": y[index], PREFIX_STATES: x[index]}

    return FederatedTask(
        name=work.kind,
        model=model,
        clients=tuple(np.arange(len(x), dtype=np.int64).reshape(task.clients, -1)),
        batch=batch,
        loss=_image_loss if work.kind == "mnist" else CausalLmLoss(),
        evaluate=lambda _: {},
        source=f"{work.kind}, the records of the benchmark",
    )


def _image_loss(output: Tensor, inputs: tuple[Tensor, Tensor]) -> Tensor:
    return F.cross_entropy(output.float(), inputs[1], reduction="none")


def _model(work: Work, config: RunConfig) -> PeftModel:
    base: nn.Module
    if work.kind == "mnist":
        state = torch.load(work.folder / "base.pt")
        base = Cnn(replace(CnnConfig.for_images((28, 28)), components=state["fc.weight"].shape[1]))
        base.load_state_dict(state)
    else:
        base, _ = load_base(config.model.base)
    return attach_adapter(base, config.lora)


def run(task: Task) -> None:
    """All rounds of a cell."""
    keep_freed_memory()
    torch.set_num_threads(task.threads)
    work = load_work(task.folder)
    config = configuration(task, work)
    clock = Clock()
    with (
        tempfile.TemporaryDirectory(prefix="sotto-bench-") as place,
        SmpcAggregator(task.parties, 300.0) if task.parties else PlaintextAggregator() as aggregator,
        RunFolder(Path(place) / "run") as folder,
    ):
        federated = federated_task(task, work, config)
        plan = plan_privacy(config, len(work.adapter()), task.clients)
        header = ledger_header(config, plan, uuid.uuid4().hex)
        workers = (
            WorkerPool(federated, config, plan, partial(task_again, task)) if task.processes > 1 else nullcontext()
        )
        with Ledger.create(folder.ledger_path, header) as ledger, workers as pool:
            save_config(config, folder.config_path)
            source = LocalClients(federated, config, plan, pool)
            loop = RoundLoop(federated, config, plan, folder, ledger, aggregator, None, source)
            clock.start()
            ended = loop.run(lambda _: clock.round_done())
        if loop.state.round != task.rounds:
            raise SystemExit(ended)
        finish(task, loop.state.theta, ("crypten", "transformers", "peft"), ring_bits=plan.ring_bits)


if __name__ == "__main__":
    run(task_of(sys.argv[1]))
