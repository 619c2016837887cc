"""A cell of `bench.rounds` in Flower's simulation: `python -m bench.rounds.flower JSON`.

Needs flwr with Ray, PyTorch, transformers and PEFT, and nothing of this repository but `work`, `flower_client`,
`report`. Flower's own FedAvg strategy asks every client in every round; Ray has one actor for each core, one thread
each; nothing is evaluated. Private: Flower's wrapper with fixed clipping at the clients and Gaussian noise at the
server (to clip at the server would be one thread's work for all clients).
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import DifferentialPrivacyClientSideFixedClipping, FedAvg, Strategy
from flwr.simulation import run_simulation

from bench.rounds.flower_client import app, clipped_app
from bench.rounds.report import Clock, Task, finish, task_of
from bench.rounds.work import adapted_model, load_work, trainable


def run(task: Task) -> None:
    """All rounds of a cell."""
    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    work = load_work(task.folder)
    initial = {name: parameter.detach() for name, parameter in trainable(adapted_model(work)).items()}
    ended: dict[str, Any] = {}
    server = ServerApp()
    clock = Clock()

    def round_ended(number: int, arrays: ArrayRecord) -> None:
        """Flower calls this before the first round and after every one, whether it evaluates anything or not."""
        clock.start() if number == 0 else clock.round_done()

    @server.main()
    def serve(grid: Grid, context: Context) -> None:
        config = ConfigRecord({"folder": str(task.folder), "threads": task.threads})
        result = _strategy(task).start(
            grid=grid,
            initial_arrays=ArrayRecord(initial),
            num_rounds=task.rounds,
            timeout=1e6,
            train_config=config,
            evaluate_fn=round_ended,
        )
        ended.update(result.arrays.to_torch_state_dict())

    run_simulation(
        server_app=server,
        client_app=clipped_app if task.privacy == "central" else app,
        num_supernodes=task.clients,
        backend_config={
            "init_args": {"num_cpus": task.processes, "logging_level": "ERROR", "log_to_driver": False},
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        },
    )
    if not ended:
        raise SystemExit("the simulation ended without a model")
    last = torch.cat([ended[name].flatten() for name in initial])
    finish(task, last, ("flwr", "ray", "transformers", "peft"))


def _strategy(task: Task) -> Strategy:
    everyone = FedAvg(
        fraction_train=1.0, fraction_evaluate=0.0, min_train_nodes=task.clients, min_available_nodes=task.clients
    )
    if task.privacy != "central":
        return everyone
    return DifferentialPrivacyClientSideFixedClipping(everyone, task.noise_multiplier, task.clip_norm, task.clients)


if __name__ == "__main__":
    run(task_of(sys.argv[1]))
