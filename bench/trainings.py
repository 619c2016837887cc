"""Whole trainings as users write them: Hugging Face's Trainer, `PrivateTrainer`, and Opacus' documented loop.

`python -m bench.trainings --out DIR [--rounds N]` writes `DIR/trainings.json` and `DIR/trainings.md`. The same
model, records, optimiser, expected batch and number of steps; the private ones with the same target epsilon, clip norm
and Poisson sampling. Each training has a process of its own, and they take turns, so that whatever else the machine
does hits all alike.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from bench.child import ChildFailed, result_of
from bench.command import parser_of, say
from bench.lora_step.methods import has_opacus, plain_losses
from bench.lora_step.shapes import DISTILGPT2, TINY, Shape, lora_model
from bench.markdown import table
from bench.measure import environment
from bench.processes import resident_mib
from bench.records import Part, store

RECORDS, TOKENS, BATCH, RANK, TARGETS = 512, 64, 16, 8, "c_attn"
EPSILON, DELTA, CLIP = 8.0, 1e-4, 1.0
PEER = "non-private"


def records(shape: Shape) -> Tensor:
    """Random texts `[n, t]`."""
    return torch.randint(0, shape.vocabulary, (RECORDS, TOKENS), generator=torch.Generator().manual_seed(1))


def with_trainer(shape: Shape, steps: int, folder: str, private: bool) -> float | None:
    """Train with Hugging Face's interface; gives the epsilon."""
    from transformers import Trainer, TrainingArguments

    args = TrainingArguments(
        folder, max_steps=steps, per_device_train_batch_size=BATCH, learning_rate=1e-3, weight_decay=0.01,
        lr_scheduler_type="constant", max_grad_norm=0.0, save_strategy="no", report_to=[], disable_tqdm=True,
        logging_strategy="no", use_cpu=True,
    )  # fmt: skip
    rows = [{"input_ids": row, "labels": row} for row in records(shape)]
    model = lora_model(shape, RANK, TARGETS, "cpu")
    if not private:
        Trainer(model, args, train_dataset=rows).train()
        return None
    from fl_core import PrivacyArguments, PrivateTrainer

    trainer = PrivateTrainer(
        model, args, privacy=PrivacyArguments(epsilon=EPSILON, delta=DELTA, clip_norm=CLIP), train_dataset=rows
    )
    trainer.train()
    return trainer.epsilon


def with_opacus(shape: Shape, steps: int, mode: str) -> float:
    """Train with Opacus' loop: hooks, or ghost clipping; gives the epsilon of its accountant."""
    from opacus import PrivacyEngine
    from opacus.utils.fast_gradient_clipping_utils import DPTensorFastGradientClipping

    model = lora_model(shape, RANK, TARGETS, "cpu")
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3, weight_decay=0.01)
    engine = PrivacyEngine(accountant="prv")
    options: dict[str, Any] = {} if mode == "hooks" else {"grad_sample_mode": mode}
    model, optimizer, *_, loader = engine.make_private_with_epsilon(
        module=model,
        optimizer=optimizer,
        data_loader=DataLoader(TensorDataset(records(shape)), batch_size=BATCH),
        target_epsilon=EPSILON,
        target_delta=DELTA,
        epochs=max(1, steps * BATCH // RECORDS),
        max_grad_norm=CLIP,
        loss_reduction="mean",
        **options,
    )
    taken = 0
    while taken < steps:
        for (ids,) in loader:
            losses = plain_losses(model(ids), {"input_ids": ids})
            loss = DPTensorFastGradientClipping(model, optimizer, losses, "mean") if mode == "ghost" else losses.mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            taken += 1
            if taken == steps:
                break
    return float(engine.get_epsilon(DELTA))


def methods() -> dict[str, Callable[[Shape, int, str], float | None]]:
    """Trainings whose packages are installed; the peer of the ratios first."""
    found: dict[str, Callable[[Shape, int, str], float | None]] = {
        PEER: lambda shape, steps, folder: with_trainer(shape, steps, folder, False),
        "PrivateTrainer": lambda shape, steps, folder: with_trainer(shape, steps, folder, True),
    }
    if has_opacus():
        found["Opacus hooks"] = lambda shape, steps, folder: with_opacus(shape, steps, "hooks")
        found["Opacus ghost"] = lambda shape, steps, folder: with_opacus(shape, steps, "ghost")
    return found


def one(name: str, shape: Shape, steps: int) -> dict[str, Any]:
    """Measure one training in this process, after a short one that warms everything up."""
    warnings.filterwarnings("ignore")
    torch.set_num_threads(2)
    method = methods()[name]
    with tempfile.TemporaryDirectory() as folder:
        method(shape, 2, f"{folder}/warm")
        begin, process = time.perf_counter(), time.process_time()
        epsilon = method(shape, steps, f"{folder}/run")
        wall, cpu = time.perf_counter() - begin, time.process_time() - process
    return {"seconds": wall / steps, "cpu_seconds": cpu / steps, "peak_mib": resident_mib("VmHWM"), "epsilon": epsilon}


def measured(names: list[str], rounds: int, quick: bool) -> dict[str, list[dict[str, Any]]]:
    """Every training in turn, `rounds` times, each in a process of its own."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for index in range(rounds):
        for name in names:
            say(f"round {index + 1}/{rounds}: {name}")
            command = [sys.executable, "-m", "bench.trainings", "--one", name, *(["--quick"] if quick else [])]
            try:
                found[name].append(result_of(command))
            except ChildFailed as failed:
                raise SystemExit(f"{name} failed: {failed}") from None
    return found


def rows_of(found: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Medians, and medians of ratios of the same round to the peer's."""
    peer = found[PEER]
    rows = []
    for name, runs in found.items():
        row: dict[str, Any] = {"training": name, "rounds": len(runs), "epsilon": runs[-1]["epsilon"]}
        for key in ("seconds", "cpu_seconds", "peak_mib"):
            row[key] = statistics.median(run[key] for run in runs)
            row[f"{key}_ratio"] = statistics.median(a[key] / b[key] for a, b in zip(runs, peer, strict=True))
        rows.append(row)
    return rows


def page(part: Part) -> str:
    """The table."""
    lines = [
        "# Whole trainings",
        "",
        f"Measured: {'; '.join(part['environment'])}, by `{part['command']}`.",
        "",
        part["what"],
        "",
        *table(
            [
                "training", "seconds a step", "over non-private", "CPU seconds over non-private", "peak MiB",
                "over non-private", "epsilon by its own account", "rounds",
            ],
            [
                [
                    row["training"], f"{row['seconds']:.3f}", f"{row['seconds_ratio']:.2f}",
                    f"{row['cpu_seconds_ratio']:.2f}", f"{row['peak_mib']:.0f}", f"{row['peak_mib_ratio']:.2f}",
                    "" if row["epsilon"] is None else f"{row['epsilon']:.2f}", row["rounds"],
                ]
                for row in part["rows"]
            ],
        ),
        "",
    ]  # fmt: skip
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = parser_of("trainings", __doc__)
    parser.add_argument("--out", type=Path, help="folder for trainings.json and trainings.md")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each training")
    parser.add_argument("--quick", action="store_true", help="a tiny model and few steps")
    parser.add_argument("--one", choices=list(methods()), help="measure this one here and print it")
    options = parser.parse_args(arguments)
    shape, steps = (TINY, 4) if options.quick else (DISTILGPT2, 32)
    if options.one:
        print(json.dumps(one(options.one, shape, steps)))
        return 0
    if options.out is None:
        parser.error("--out is missing")
    part = {
        "environment": [environment("cpu")],
        "command": f"python -m bench.trainings --out DIR --rounds {options.rounds}{' --quick' * options.quick}",
        "what": f"{steps} steps of AdamW on a GPT-2 of {shape.layers} layers, width {shape.width}, vocabulary "
        f"{shape.vocabulary}, LoRA of rank {RANK} on {TARGETS}; {RECORDS} records of {TOKENS} tokens, expected batch "
        f"{BATCH}; private: epsilon {EPSILON:g}, delta {DELTA:g}, clip norm {CLIP:g}, Poisson batches. Medians; ratios "
        "within a round. PrivateTrainer draws a discrete Gaussian and writes a ledger entry before every step; Opacus "
        "draws floating-point noise and composes by PRV, PrivateTrainer by RDP, so its noise is a little larger.",
        "rows": rows_of(measured(list(methods()), options.rounds, options.quick)),
    }
    store(options.out / "trainings.json", part)
    (options.out / "trainings.md").write_text(page(part))
    return 0


if __name__ == "__main__":
    sys.exit(main())
