"""The private gradient: per-sample LoRA gradients of one batch, clipped and summed into one flat vector.

Takes a model with LoRA layers and a batch; gives the sum over samples of clipped per-sample gradients, per client
if the samples carry client ids, as floats or as exact integers. Plain vectorised implementation: forward hooks
keep what a layer saw, gradient hooks turn it into per-sample gradients during one ordinary backward pass.
It must never guess: a trainable parameter without a per-sample rule is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft.tuners.lora.layer import Embedding as LoraEmbedding
from torch import Tensor, nn

from fl_core.adapters import trainable_parameters
from kernels import (
    clip_and_sum_counted,
    conv2d_per_sample_grad,
    linear_per_sample_grad,
    lora_embedding_per_sample_grads,
    squared_norms,
)
from secagg.errors import SottoError

__all__ = ["ClippedSum", "PrivateGradient", "forward"]

LossFunction = Callable[[Any, Any], Tensor]


@dataclass(frozen=True)
class ClippedSum:
    """Sum of clipped per-sample gradients.

    Attributes:
        total: `[p]`, or `[segments, p]`; int64 grid steps if a scale was given.
        norms: `[b]` float64, per-sample L2 norms before clipping. Private: never leaves the client.
        losses: `[b]` per-sample losses. Private: never leaves the client.
        clipped: samples above the clip norm.
        nonfinite: samples that contributed zero because their gradient was not finite.
    """

    total: Tensor
    norms: Tensor
    losses: Tensor
    clipped: int
    nonfinite: int


class PrivateGradient:
    """`PrivateGradient(model, clip_norm=C)(inputs, loss_fn)`: DP-SGD's clipped gradient sum (Abadi et al. 2016).

    Equal to the sum over samples of `min(1, C / |g_i|) g_i` with `g_i` the autograd gradient of sample i's loss
    with respect to the trainable `named_parameters()`, flat and in that order. Covers the layers that PEFT makes for
    Linear, GPT-2's Conv1D, Conv2d and Embedding.

    Args:
        model: module whose trainable parameters all sit in such layers.
        clip_norm: L2 bound C of one sample's contribution.
        scale: grid steps per unit; with it totals are exact int64 (see `kernels.clip_sum`).

    Raises:
        SottoError: if a trainable parameter sits in a layer without a per-sample rule.
    """

    def __init__(self, model: nn.Module, clip_norm: float, scale: float | None = None) -> None:
        self.model = model
        self.clip_norm = clip_norm
        self.scale = scale
        self._slices: dict[int, tuple[int, int]] = {}
        offset = 0
        for _, parameter in trainable_parameters(model):
            self._slices[id(parameter)] = (offset, offset + parameter.numel())
            offset += parameter.numel()
        self.length = offset
        if not offset:
            raise SottoError("the model has no trainable parameter; attach an adapter first")
        self._layers = _layers_with_rules(model)

    def __call__(
        self,
        inputs: Any,
        loss_fn: LossFunction,
        segments: Tensor | None = None,
        num_segments: int | None = None,
    ) -> ClippedSum:
        """Clipped gradient sum of one batch.

        Args:
            inputs: what `forward` feeds to the model: a mapping (keywords), a tuple (first entry) or a tensor.
            loss_fn: `loss_fn(model_output, inputs) -> [b]`, one loss per sample that depends on that sample alone.
            segments: optional int64 `[b]`, the client of each sample.
            num_segments: number of clients.

        Raises:
            SottoError: if the loss is not one number per sample, or a trainable parameter got no gradient.
        """
        batch = _batch_size(inputs)
        if batch == 0:
            return self._finish(torch.zeros(0, self.length), torch.zeros(0), segments, num_segments)
        buffers: list[Tensor] = []  # one flat [b, p], made at the first gradient in its dtype
        seen: set[int] = set()

        def write(parameter: Tensor, grad: Tensor) -> None:
            if grad.shape[0] != batch:
                raise SottoError(
                    f"a layer sees {grad.shape[0]} rows for {batch} samples; its inputs must keep the batch first"
                )
            if not buffers:
                buffers.append(grad.new_zeros(batch, self.length))
            start, stop = self._slices[id(parameter)]
            # Added, not assigned: a module that runs twice in one forward pass contributes twice.
            buffers[0][:, start:stop] += grad.flatten(1)
            seen.add(id(parameter))

        handles = [layer.register_forward_hook(_capture(rule, write)) for layer, rule in self._layers]
        before = [(p, p.grad) for _, p in trainable_parameters(self.model)]
        try:
            with torch.enable_grad():
                losses = loss_fn(forward(self.model, inputs), inputs)
                if losses.shape != (batch,):
                    raise SottoError(
                        f"loss_fn must give one loss per sample, shape ({batch},), got {tuple(losses.shape)}"
                    )
                torch.autograd.backward(losses.sum())
        finally:
            for handle in handles:
                handle.remove()
            for parameter, grad in before:
                parameter.grad = grad
        missing = [name for name, p in trainable_parameters(self.model) if id(p) not in seen]
        if missing:
            raise SottoError(f"parameter {missing[0]} got no per-sample gradient: its layer did not run as a module")
        return self._finish(buffers[0], losses.detach(), segments, num_segments)

    def _finish(self, grads: Tensor, losses: Tensor, segments: Tensor | None, num_segments: int | None) -> ClippedSum:
        square = squared_norms(grads)
        result = clip_and_sum_counted(grads, square, self.clip_norm, segments, self.scale, num_segments)
        return ClippedSum(result.total, square.sqrt(), losses, result.clipped, result.nonfinite)


def forward(model: nn.Module, inputs: Any) -> Any:
    """Run the model: keywords for a mapping, the first entry of a tuple (labels follow), else the value itself."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(inputs[0] if isinstance(inputs, tuple) else inputs)


Write = Callable[[Tensor, Tensor], None]
Rule = Callable[[Tensor, Tensor, Write], None]


def _capture(rule: Rule, write: Write) -> Callable[[nn.Module, Sequence[Any], Tensor], None]:
    def hook(module: nn.Module, args: Sequence[Any], output: Tensor) -> None:
        # Under gradient checkpointing the first pass runs without a graph; the recomputation registers the hook.
        if output.requires_grad:
            seen = args[0].detach()
            output.register_hook(lambda grad: rule(seen, grad.detach(), write))  # type: ignore[no-untyped-call]

    return hook


def _layers_with_rules(model: nn.Module) -> list[tuple[nn.Module, Rule]]:
    layers: list[tuple[nn.Module, Rule]] = []
    covered: set[int] = set()
    for module in model.modules():
        rule, parameters = _rule_of(module)
        trainable = [p for p in parameters if p.requires_grad]
        if rule is not None and trainable:
            layers.append((module, rule))
            covered.update(id(p) for p in trainable)
    for name, parameter in trainable_parameters(model):
        if id(parameter) not in covered:
            raise SottoError(
                f"trainable parameter {name} has no per-sample rule; allowed: LoRA on Linear, Conv1D, Conv2d, Embedding"
            )
    return layers


def _rule_of(module: nn.Module) -> tuple[Rule | None, list[nn.Parameter]]:
    if type(module) is nn.Linear:
        return _linear_rule(module), list(module.parameters(recurse=False))
    if type(module) is nn.Conv2d:
        return _conv2d_rule(module), list(module.parameters(recurse=False))
    if isinstance(module, LoraEmbedding):
        parameters = [*module.lora_embedding_A.values(), *module.lora_embedding_B.values()]
        return _embedding_rule(module), parameters
    return None, []


def _linear_rule(module: nn.Linear) -> Rule:
    def rule(x: Tensor, grad: Tensor, write: Write) -> None:
        if module.weight.requires_grad:
            write(module.weight, linear_per_sample_grad(x, grad))
        if module.bias is not None and module.bias.requires_grad:
            write(module.bias, grad.reshape(grad.shape[0], -1, grad.shape[-1]).float().sum(1))

    return rule


def _conv2d_rule(module: nn.Conv2d) -> Rule:
    def rule(x: Tensor, grad: Tensor, write: Write) -> None:
        if module.weight.requires_grad:
            write(module.weight, conv2d_per_sample_grad(x, grad, module))
        if module.bias is not None and module.bias.requires_grad:
            write(module.bias, grad.float().sum((2, 3)))

    return rule


def _embedding_rule(module: LoraEmbedding) -> Rule:
    def rule(ids: Tensor, grad: Tensor, write: Write) -> None:
        adapters = module.active_adapters
        if len(adapters) != 1:
            raise SottoError(f"one active adapter is supported, found {len(adapters)}")
        name = adapters[0]
        a, b = module.lora_embedding_A[name], module.lora_embedding_B[name]
        grad_a, grad_b = lora_embedding_per_sample_grads(ids, grad, a, b, module.scaling[name])
        write(a, grad_a)
        write(b, grad_b)

    return rule


def _batch_size(inputs: Any) -> int:
    if isinstance(inputs, Mapping):
        inputs = next(iter(inputs.values()))
    elif isinstance(inputs, tuple):
        inputs = inputs[0]
    return int(inputs.shape[0])
