"""Who is measured: Opacus 1.6's four modes, the non-private PEFT step, and ours; each as something to call.

Every private method clips to the same norm and adds noise of the same size; every step ends with the same optimiser.
Opacus gets per-sequence losses too, for with the mean over a batch's tokens its gradients would not be per sample.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.lora_step.shapes import Cell, Shape, lora_model, token_ids
from fl_core import PrivateGradient
from fl_core.adapters import assign_gradient, trainable_parameters
from fl_core.causal_lm import CausalLmLoss
from fl_core.gradients.lora_layers import fused_lora
from kernels import GaussianNoise, GradientBuffer

__all__ = ["OPACUS", "STEPS", "has_opacus", "known_steps", "plain_losses", "stage_methods", "step_methods"]

CLIP_NORM = 1.0
NOISE = 1.0
OPACUS = ("opacus hooks", "opacus functorch", "opacus ew", "opacus ghost")
# "plain" losses hold all logits, as Opacus' steps do; sotto's own loss works in chunks.
STEPS = ("non-private", "non-private fused", *OPACUS, "sotto", "sotto integer", "sotto plain loss")


def has_opacus() -> bool:
    """Whether the peer is installed."""
    try:
        import opacus  # noqa: F401
    except ImportError:
        return False
    return True


def known_steps() -> tuple[str, ...]:
    """Those of `STEPS` whose packages are installed; the non-private one first, as the peer of ratios."""
    return tuple(name for name in STEPS if name not in OPACUS or has_opacus())


def stage_methods(shape: Shape, cell: Cell, device: str = "cpu") -> dict[str, Callable[[], object]]:
    """The stage that privacy adds, from what the layers saw to a noisy mean; the first method is Opacus' or, without
    it, the non-private one.

    "non-private": the products for aggregated gradients that every ordinary backward pass makes. Opacus makes them
    too, so they are part of its time; ours never does.
    """
    pairs = shape.pairs(cell.targets)
    b, t, r = cell.batch, cell.tokens, cell.rank
    torch.manual_seed(0)
    seen = [
        tuple(torch.randn(b, t, width, device=device) for width in (d_in, r, r, d_out))  # x, u, h, g
        for d_in, d_out in pairs
    ]
    sums = [(torch.empty(r, d_in, device=device), torch.empty(d_out, r, device=device)) for d_in, d_out in pairs]

    def non_private() -> None:
        for (x, u, h, g), (sum_a, sum_b) in zip(seen, sums, strict=True):
            torch.mm(u.flatten(0, 1).t(), x.flatten(0, 1), out=sum_a)
            torch.mm(g.flatten(0, 1).t(), h.flatten(0, 1), out=sum_b)

    store = GradientBuffer([s for i, o in pairs for s in ((r, i), (o, r))], b, device=device)

    def sotto(scale: float | None = None) -> Tensor:
        store.clear()
        for index, (x, u, h, g) in enumerate(seen):
            store.add_pair(2 * index, 2 * index + 1, x, u, h, g, 1.0)
        # On the integer grid noise is discrete and belongs to the upload, not to this stage.
        noise = None if scale else fresh_noise()
        total = store.clip_and_sum(CLIP_NORM, scale=scale, noise=noise).total
        return total if scale else total.div_(b)

    methods: dict[str, Callable[[], object]] = {}
    if has_opacus():
        methods["opacus hooks"] = _opacus_stage(pairs, cell, seen, non_private, device)
    return methods | {"non-private": non_private, "sotto": sotto, "sotto integer": lambda: sotto(2.0**20)}


def _opacus_stage(
    pairs: list[tuple[int, int]], cell: Cell, seen: list[Any], non_private: Callable[[], None], device: str
) -> Callable[[], None]:
    from opacus.grad_sample.linear import compute_linear_grad_sample
    from opacus.optimizers import DPOptimizer

    layers = [
        (nn.Linear(i, cell.rank, bias=False, device=device), nn.Linear(cell.rank, o, bias=False, device=device))
        for i, o in pairs
    ]
    weights = [layer.weight for pair in layers for layer in pair]
    optimizer = DPOptimizer(
        torch.optim.SGD(weights, lr=0.0),
        noise_multiplier=NOISE,
        max_grad_norm=CLIP_NORM,
        expected_batch_size=cell.batch,
    )

    @torch.no_grad()
    def step() -> None:
        non_private()
        for (x, u, h, g), (a, b) in zip(seen, layers, strict=True):
            for layer, activation, slope in ((a, x, u), (b, h, g)):
                # Its hooks undo the loss's mean by multiplying with the batch size.
                samples = compute_linear_grad_sample(layer, [activation], slope * cell.batch)
                layer.weight.grad_sample = samples[layer.weight]  # type: ignore[assignment]
        optimizer.pre_step()
        optimizer.zero_grad()

    return step


def step_methods(
    shape: Shape, cell: Cell, names: tuple[str, ...], device: str = "cpu", dtype: torch.dtype = torch.float32
) -> dict[str, Callable[[], object]]:
    """One whole training step of each named method, each with a model of its own, all seeing the same batches."""
    return {name: _step(name, shape, cell, device, dtype) for name in names}


def _step(name: str, shape: Shape, cell: Cell, device: str, dtype: torch.dtype) -> Callable[[], object]:
    model = lora_model(shape, cell.rank, cell.targets, device, dtype)
    batches = token_ids(shape, cell, device)
    optimizer = torch.optim.AdamW([p for _, p in trainable_parameters(model)], lr=1e-3)
    if name in OPACUS:
        return _opacus_step(name.removeprefix("opacus "), model, optimizer, cell, batches)
    if name.startswith("sotto"):
        scale = 2.0**20 if name == "sotto integer" else None
        loss = plain_losses if name == "sotto plain loss" else CausalLmLoss()
        return _sotto_step(model, optimizer, cell, batches, loss, scale)

    def step() -> None:
        ids = next(batches)
        if name == "non-private fused":
            with fused_lora(model):
                CausalLmLoss().of_model(model, {"input_ids": ids}).mean().backward()  # type: ignore[no-untyped-call]
        elif name == "non-private":
            model(input_ids=ids, labels=ids).loss.backward()
        else:
            raise ValueError(f"no method {name!r}; allowed: {', '.join(STEPS)}")
        optimizer.step()
        optimizer.zero_grad()

    return step


def _sotto_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    cell: Cell,
    batches: Iterator[Tensor],
    loss: Any,
    scale: float | None,
) -> Callable[[], object]:
    gradient = PrivateGradient(model, CLIP_NORM, scale)

    def step() -> None:
        noise = None if scale else fresh_noise()
        total = gradient({"input_ids": next(batches)}, loss, noise=noise).total
        mean = total.div_(cell.batch) if scale is None else (total / (scale * cell.batch)).float()
        assign_gradient(model, mean)
        optimizer.step()
        optimizer.zero_grad()

    return step


def _opacus_step(
    mode: str, model: nn.Module, optimizer: torch.optim.Optimizer, cell: Cell, batches: Iterator[Tensor]
) -> Callable[[], object]:
    from opacus import PrivacyEngine
    from opacus.utils.fast_gradient_clipping_utils import DPTensorFastGradientClipping
    from torch.utils.data import DataLoader, TensorDataset

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about its insecure noise and about hooks
        wrapped, private, *_ = PrivacyEngine().make_private(
            module=model,
            optimizer=optimizer,
            data_loader=DataLoader(TensorDataset(torch.zeros(4 * cell.batch, 1)), batch_size=cell.batch),
            noise_multiplier=NOISE,
            max_grad_norm=CLIP_NORM,
            poisson_sampling=False,
            grad_sample_mode=mode,
            loss_reduction="mean",
        )

    def step() -> None:
        ids = next(batches)
        losses = plain_losses(wrapped(ids), {"input_ids": ids})
        loss = DPTensorFastGradientClipping(wrapped, private, losses, "mean") if mode == "ghost" else losses.mean()
        loss.backward()
        private.step()
        private.zero_grad()

    return step


def plain_losses(output: Any, inputs: Any) -> Tensor:
    """Mean next-token loss of each sequence, from whole logits."""
    logits, ids = output.logits[:, :-1], inputs["input_ids"]
    tokens = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), ids[:, 1:].reshape(-1), reduction="none")
    return tokens.view(ids.shape[0], -1).mean(1)


def fresh_noise() -> GaussianNoise:
    """Noise for one sum under a key of its own."""
    return GaussianNoise(NOISE * CLIP_NORM, os.urandom(32), bytes(12))
