"""The local work that every framework of `bench.rounds` does: model, adapter, records, one client's step.

Takes a folder that `bench.rounds.prepare` made (`work.json`, the frozen base, the clients' records, the adapter's
first value). Needs PyTorch, transformers and PEFT and nothing of this repository, so that it runs in the peers'
interpreters. That the networks here are Sotto's own is not assumed: adapters are compared before anything is timed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = ["Work", "adapted_model", "flat", "load_flat", "load_work", "loss_of", "reference_adapter", "trainable"]


@dataclass(frozen=True)
class Work:
    """What one client does in one round, and with what.

    Attributes:
        folder: where its files are.
        kind: `mnist` or `next_word`.
        inputs: `raw` (images, tokens) or `stored` (what the frozen layers before the first adapter make of them).
        rank, alpha: of the adapter.
        targets: names of the adapted layers.
        blocks: numbers of the adapted blocks in the base that is in `folder`; none for the network of images.
        learning_rate: of a client's one step of SGD on all of its records.
    """

    folder: Path
    kind: str
    inputs: str
    rank: int
    alpha: float
    targets: tuple[str, ...]
    blocks: tuple[int, ...]
    learning_rate: float

    def records(self, mapped: bool = False) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Inputs `[clients, records, ...]` and labels of all clients, read or mapped into memory."""
        mode = "r" if mapped else None
        return np.load(self.folder / "x.npy", mmap_mode=mode), np.load(self.folder / "y.npy", mmap_mode=mode)

    def adapter(self) -> Tensor:
        """The adapter's first value, flat `[p]`."""
        return torch.from_numpy(np.load(self.folder / "adapter.npy"))


class Network(nn.Module):
    """The network of images: two convolutions, fixed normalisation, one fully connected layer."""

    center: Tensor
    whitening: Tensor

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        first, second = state["conv1.weight"], state["conv2.weight"]
        self.conv1 = nn.Conv2d(1, first.shape[0], first.shape[2], padding=first.shape[2] // 2)
        self.conv2 = nn.Conv2d(second.shape[1], second.shape[0], second.shape[2], padding=second.shape[2] // 2)
        self.fc = nn.Linear(state["fc.weight"].shape[1], state["fc.weight"].shape[0])
        self.register_buffer("center", torch.zeros_like(state["center"]))
        self.register_buffer("whitening", torch.zeros_like(state["whitening"]))
        self.grid = round((state["center"].numel() / second.shape[0]) ** 0.5)
        self.load_state_dict(state)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images `[b, 1, h, w]` or of their stored features `[b, components]`."""
        if images.dim() == 4:
            maps = F.relu(F.max_pool2d(self.conv1(images), 2))
            maps = F.relu(F.adaptive_max_pool2d(self.conv2(maps), self.grid))
            pooled = torch.flatten(maps, 1)
            pooled = F.layer_norm(pooled, pooled.shape[1:])
            images = F.rms_norm((pooled - self.center) @ self.whitening, (self.fc.in_features,), eps=1e-6)
        logits: Tensor = self.fc(images)
        return logits


def load_work(folder: Path) -> Work:
    """The work that a folder holds."""
    said = json.loads((folder / "work.json").read_text())
    return Work(folder, **{**said, "targets": tuple(said["targets"]), "blocks": tuple(said["blocks"])})


def adapted_model(work: Work) -> nn.Module:
    """The frozen base with a LoRA adapter that holds its first value, in training mode."""
    import warnings

    from peft import LoraConfig, get_peft_model

    base: nn.Module
    if work.kind == "mnist":
        base = Network(torch.load(work.folder / "base.pt"))
    else:
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        base = AutoModelForCausalLM.from_pretrained(str(work.folder / "base"), dtype=torch.float32)
    config = LoraConfig(
        r=work.rank,
        lora_alpha=work.alpha,  # type: ignore[arg-type]
        lora_dropout=0.0,
        target_modules=list(work.targets),
        layers_to_transform=list(work.blocks) or None,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to False")
        model: nn.Module = get_peft_model(base, config)  # type: ignore[arg-type]
    load_flat(model, work.adapter())
    return model.train()


def loss_of(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Mean over records of each one's loss; of a sequence, the mean over its own next tokens (-100 is none)."""
    if y.dim() == 1:
        return F.cross_entropy(model(x), y)
    named = {"inputs_embeds" if x.is_floating_point() else "input_ids": x}
    logits, labels = model(**named, use_cache=False).logits[:, :-1], y[:, 1:]
    losses = F.cross_entropy(logits.transpose(1, 2), labels, ignore_index=-100, reduction="none").sum(1)
    return (losses / (labels != -100).sum(1).clamp(min=1)).mean()


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The adapter's parameters by name, in the order of the flat vector."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def flat(model: nn.Module) -> Tensor:
    """A copy of the adapter as one vector `[p]`."""
    return torch.cat([parameter.detach().flatten() for parameter in trainable(model).values()])


@torch.no_grad()
def load_flat(model: nn.Module, vector: Tensor) -> None:
    """Write `vector [p]` into the adapter."""
    parameters = list(trainable(model).values())
    for parameter, part in zip(parameters, torch.split(vector, [p.numel() for p in parameters]), strict=True):
        parameter.copy_(part.reshape(parameter.shape))


def local_step(model: nn.Module, x: Tensor, y: Tensor, learning_rate: float) -> None:
    """One step of SGD of the adapter on one client's records, in place."""
    parameters = list(trainable(model).values())
    grads = torch.autograd.grad(loss_of(model, x, y), parameters)
    with torch.no_grad():
        for parameter, grad in zip(parameters, grads, strict=True):
            parameter.sub_(learning_rate * grad)


def reference_adapter(work: Work, clients: int, rounds: int) -> Tensor:
    """The adapter `[p]` after rounds of federated averaging over the first clients, in plain PyTorch."""
    model, (x, y) = adapted_model(work), work.records(mapped=True)
    theta = work.adapter()
    for _ in range(rounds):
        total = torch.zeros(len(theta), dtype=torch.float64)
        for client in range(clients):
            load_flat(model, theta)
            local_step(model, torch.tensor(x[client]), torch.tensor(y[client]), work.learning_rate)
            total += flat(model).double() - theta.double()
        theta = (theta.double() + total / clients).float()
    return theta
