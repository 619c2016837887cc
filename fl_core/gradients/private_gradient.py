"""The private gradient: per-sample LoRA gradients of one batch, clipped and summed into one flat vector.

Takes a model with LoRA layers and a batch; gives the sum over samples of clipped per-sample gradients, per client
if the samples carry client ids, as floats or as exact integers. One ordinary forward and backward pass: the LoRA
layers write per-sample gradients where they would have made aggregated ones. It must never guess: what it cannot do
exactly is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fl_core.adapters import flat_adapter, unmoved_weights
from fl_core.batches import batch_size, rows_of
from fl_core.gradients.gradient_sinks import sink_for
from fl_core.gradients.lora_layers import LoraSite, adapter_parameters, fused_lora
from fl_core.gradients.sample_independence import refuse_batch_norm, refuse_mixing
from fl_core.gradients.sample_losses import LossFunction, sample_losses
from kernels import ClipSum, GaussianNoise, add_gaussian_noise
from kernels.gradient_store import GradientStore, gradient_store
from kernels.lora_linear import PairSink
from secagg.errors import SottoError

__all__ = ["ClippedSum", "PrivateGradient"]


@dataclass(frozen=True, repr=False)
class ClippedSum:
    """Sum of clipped per-sample gradients; without a repr, for it is un-noised and must not reach a log.

    Attributes:
        total: `[p]`, or `[segments, p]`; int64 grid steps if a scale was given.
        losses: `[b]` per-sample losses. Private: never leaves the client.
        parts: what the kernel said of each microbatch.
    """

    total: Tensor
    losses: Tensor
    parts: tuple[ClipSum, ...]

    @property
    def norms(self) -> Tensor:
        """`[b]` float64, per-sample L2 norms before clipping. Private: never leaves the client."""
        return torch.cat([part.norms for part in self.parts]) if self.parts else self.losses.to(torch.float64)

    @property
    def accepted(self) -> Tensor:
        """Bool `[b]`, False for samples that contributed zero. Private: never leaves the client."""
        # Where the kernel accepted every sample, all norms are finite.
        found = [torch.isfinite(part.norms) if part.accepted is None else part.accepted for part in self.parts]
        return torch.cat(found) if found else self.losses.to(torch.bool)

    @property
    def clipped(self) -> int:
        """Samples above the clip norm."""
        return sum(part.clipped for part in self.parts)

    @property
    def nonfinite(self) -> int:
        """Samples that contributed zero because their gradient was not finite."""
        return sum(part.nonfinite for part in self.parts)


class PrivateGradient:
    """`PrivateGradient(model, clip_norm=C)(inputs, loss_fn)`: DP-SGD's clipped gradient sum (Abadi et al. 2016).

    Equal to the sum over samples of `min(1, C / |g_i|) g_i` with `g_i` the autograd gradient of sample i's loss
    with respect to the trainable `named_parameters()`, flat and in that order. Covers the layers that PEFT makes for
    Linear, GPT-2's Conv1D, Conv2d and Embedding, with padding, bf16, dropout, gradient checkpointing and shared layers.

    The first call also runs a sample alone and with one neighbour, and refuses if its gradients differ (and, after a
    small difference, those of two others too): `fl_core.gradients.sample_independence`. Per-sample gradients are
    materialised in one `[b, p]` buffer if that fits into `buffer_bytes`, else recomputed
    (`kernels.recomputed_gradients`).

    Args:
        model: module whose trainable parameters all belong to LoRA adapters.
        clip_norm: L2 bound C of one sample's contribution.
        scale: grid steps per unit; with it totals are exact int64 (see `kernels.clip_sum`).
        microbatch: samples that go through the model at a time; default all of them.
        buffer_bytes: what the buffer of per-sample gradients may take.
        checked: the first call leaves out its look at single samples, which somebody else had (`refuse_mixing`).

    Raises:
        SottoError: if a trainable parameter sits in a layer without a per-sample rule.
    """

    def __init__(
        self,
        model: nn.Module,
        clip_norm: float,
        scale: float | None = None,
        microbatch: int | None = None,
        buffer_bytes: int = 2**30,
        checked: bool = False,
    ) -> None:
        if microbatch is not None and microbatch < 1:
            raise SottoError(f"microbatch is {microbatch}; allowed: 1 or more samples")
        self.model = model
        self.clip_norm = clip_norm
        self.scale = scale
        self.microbatch = microbatch
        self.buffer_bytes = buffer_bytes
        named = adapter_parameters(model)
        self._names = [name for name, _ in named]
        self._parameters = [parameter for _, parameter in named]
        self._index = {id(parameter): index for index, parameter in enumerate(self._parameters)}
        self.length = sum(parameter.numel() for parameter in self._parameters)
        self._store: GradientStore | None = None
        self._checked = checked
        self._first: tuple[Tensor, Tensor] | None = None
        self._stepped = False

    def __call__(
        self,
        inputs: Any,
        loss_fn: LossFunction,
        segments: Tensor | None = None,
        num_segments: int | None = None,
        noise: GaussianNoise | None = None,
    ) -> ClippedSum:
        """Clipped gradient sum of one batch.

        Args:
            inputs: what `fl_core.batches.forward` feeds to the model: a mapping (keywords), a tuple (first entry) or a
                tensor, samples first.
            loss_fn: `loss_fn(model_output, inputs) -> [b]`, one loss per sample that depends on that sample alone; a
                loss with a method `of_model(model, inputs) -> [b]` runs the model itself.
            segments: optional int64 `[b]`, the client of each sample.
            num_segments: number of clients.
            noise: Gaussian noise for the sum, in the same pass (single-machine DP-SGD; float mode without segments).

        Raises:
            SottoError: if the loss is not one number per sample, samples influence each other's gradients, or a
                trainable parameter got no gradient.
        """
        batch = batch_size(inputs)
        step = self.microbatch or max(1, batch)
        if segments is not None and num_segments is None:
            num_segments = int(segments.max()) + 1 if batch else 0
        if not self._checked and batch > 1:
            self.refuse_mixing(inputs, loss_fn)
        parts: list[ClipSum] = []
        losses: list[Tensor] = []
        total: Tensor | None = None
        last = batch - 1 - (batch - 1) % step
        for start in range(0, batch, step):
            some = inputs if step >= batch else rows_of(inputs, start, start + step)
            store, values = self._backward(some, loss_fn)
            own = None if segments is None else segments[start : start + step]
            alone = noise if start == 0 and last == 0 else None
            part = store.clip_and_sum(self.clip_norm, own, self.scale, num_segments, alone)
            total = part.total if total is None else total + part.total
            parts.append(part)
            losses.append(values)
        if total is None:
            total, values = self._nothing(num_segments)
            losses.append(values)
        if noise is not None and last != 0:
            total = add_gaussian_noise(total, noise.std, noise.key, noise.nonce)
        self._remember(total)
        return ClippedSum(total, losses[0] if len(losses) == 1 else torch.cat(losses), tuple(parts))

    def refuse_mixing(self, inputs: Any, loss_fn: LossFunction) -> None:
        """What the first call does first: see that no sample of a batch of two or more changes another's gradient.

        Raises:
            SottoError: if one does.
        """
        refuse_mixing(self.model, inputs, lambda some: self._first_gradient(some, loss_fn))
        self._checked = True

    def check_step(self) -> None:
        """After the first optimiser step: every adapter weight with a gradient must have moved (`unmoved_weights`).

        Call it after each step or the first; once it has passed, later calls do nothing.

        Raises:
            SottoError: naming the first weight that did not move.
        """
        if self._stepped or self._first is None:
            return
        unmoved = unmoved_weights(self.model, *self._first)
        if unmoved:
            raise SottoError(
                f"adapter weight {unmoved[0]} did not move in the first step although it has a gradient: does the "
                f"optimiser hold this model's parameters? Make it after the adapter is attached and moved"
            )
        self._first, self._stepped = None, True

    def _backward(self, inputs: Any, loss_fn: LossFunction) -> tuple[GradientStore, Tensor]:
        """One forward and backward pass that fills the store; the samples' losses `[b]`."""
        batch = batch_size(inputs)
        store = self._fresh_store(batch)
        refuse_batch_norm(self.model)
        with fused_lora(self.model, lambda site: self._sink(site, store, batch)), torch.enable_grad():
            losses = sample_losses(self.model, inputs, loss_fn)
            losses.sum().backward()  # type: ignore[no-untyped-call]
        missing = [name for index, name in enumerate(self._names) if index not in store.written]
        if missing:
            raise SottoError(f"parameter {missing[0]} got no per-sample gradient: its layer did not run as a module")
        return store, losses.detach()

    def _fresh_store(self, batch: int) -> GradientStore:
        first = self._parameters[0]
        if self._store is None or self._store.batch != batch or self._store.device != first.device:
            dtype = torch.float64 if first.dtype == torch.float64 else torch.float32
            shapes = [tuple(parameter.shape) for parameter in self._parameters]
            self._store = None  # the old buffer goes before the new one comes
            self._store = gradient_store(shapes, batch, dtype, first.device, self.buffer_bytes)
        else:
            self._store.clear()
        return self._store

    def _sink(self, site: LoraSite, store: GradientStore, batch: int) -> PairSink:
        return sink_for(site, self._position(site, site.a), self._position(site, site.b), store, batch)

    def _position(self, site: LoraSite, parameter: nn.Parameter) -> int | None:
        if not parameter.requires_grad:
            return None
        if id(parameter) not in self._index:
            raise SottoError(
                f"the adapter of {site.name} was replaced since PrivateGradient was made: make it after the model is "
                f"moved and the adapter attached"
            )
        return self._index[id(parameter)]

    def _nothing(self, num_segments: int | None) -> tuple[Tensor, Tensor]:
        """Sum and losses of an empty batch."""
        device = self._parameters[0].device
        shape = (self.length,) if num_segments is None else (num_segments, self.length)
        dtype = torch.float32 if self.scale is None else torch.int64
        return torch.zeros(shape, dtype=dtype, device=device), torch.zeros(0, device=device)

    def _first_gradient(self, inputs: Any, loss_fn: LossFunction) -> Tensor:
        store, _ = self._backward(inputs, loss_fn)
        segments = torch.arange(store.batch, device=store.device)
        # Without a bound that bites: the gradient itself.
        gradient = store.clip_and_sum(1e30, segments, None, store.batch).total[0].to(torch.float64)
        self._store = None
        return gradient

    def _remember(self, total: Tensor) -> None:
        """Keep weights and gradient of the first call, for `check_step`."""
        if self._stepped or self._first is not None:
            return
        flat = total if total.dim() == 1 else total.sum(0)
        self._first = flat_adapter(self.model), flat.clone()
