"""PEFT's LoRA layers run by our kernels: which ones a model has, and blocks in which they run another way.

Takes a model whose adapter PEFT attached and leaves it as it was afterwards. It never changes what a layer computes,
only how, and refuses layers that it could not run exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch.nn.functional as F
from peft.tuners.lora.layer import Conv2d as PeftConv2d
from peft.tuners.lora.layer import Embedding as PeftEmbedding
from peft.tuners.lora.layer import Linear as PeftLinear
from peft.tuners.lora.layer import LoraLayer
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from fl_core.adapters import trainable_parameters
from kernels.lora_conv2d import ConvGeometry, lora_conv2d
from kernels.lora_embedding import lora_embedding
from kernels.lora_linear import PairSink, lora_branch, lora_linear
from secagg.errors import SottoError

__all__ = ["LoraSite", "adapter_parameters", "fused_lora", "lora_sites", "patched_lora"]


@dataclass(frozen=True)
class LoraSite:
    """One place where an adapter sits.

    Attributes:
        name: of the module in the model.
        module: PEFT's layer.
        adapter: name of its one active adapter.
    """

    name: str
    module: Any
    adapter: str

    @property
    def kind(self) -> str:
        """ "linear" (also GPT-2's Conv1D), "conv2d" or "embedding"."""
        return {PeftConv2d: "conv2d", PeftEmbedding: "embedding"}.get(type(self.module), "linear")

    @property
    def a(self) -> nn.Parameter:
        """A: `[r, d_in]`, `[r, vocabulary]` or `[r, c_in / groups, kh, kw]`."""
        if isinstance(self.module, PeftEmbedding):
            parameter: nn.Parameter = self.module.lora_embedding_A[self.adapter]
        else:
            parameter = self.module.lora_A[self.adapter].weight
        return parameter

    @property
    def b(self) -> nn.Parameter:
        """B: `[d_out, r]`, or `[c_out, r / groups, 1, 1]`."""
        if isinstance(self.module, PeftEmbedding):
            parameter: nn.Parameter = self.module.lora_embedding_B[self.adapter]
        else:
            parameter = self.module.lora_B[self.adapter].weight
        return parameter

    @property
    def scaling(self) -> float:
        """alpha / r, or what PEFT made of it."""
        return float(self.module.scaling[self.adapter])

    @property
    def geometry(self) -> ConvGeometry:
        """Of the convolution A; the zeros of padding="same" are added to its input instead."""
        conv = self.module.lora_A[self.adapter]
        padding = (0, 0) if isinstance(conv.padding, str) else tuple(conv.padding)
        return ConvGeometry(tuple(conv.stride), padding, tuple(conv.dilation), conv.groups)

    @property
    def groups(self) -> int:
        """Of the 1 x 1 convolution B."""
        return int(self.module.lora_B[self.adapter].groups)

    def entering(self, x: Tensor) -> Tensor:
        """What A sees of the layer's input: behind the adapter's dropout, with padding="same"'s zeros around it."""
        dropped: Tensor = self.module.lora_dropout[self.adapter](x)
        return _padded(self.module.lora_A[self.adapter], dropped) if self.kind == "conv2d" else dropped


def lora_sites(model: nn.Module) -> list[LoraSite]:
    """The model's LoRA layers that have a trainable adapter, in the model's order.

    Raises:
        SottoError: for a layer that cannot be run exactly: a kind without a rule, several active adapters, DoRA and
            other variants, a merged or disabled adapter.
    """
    sites = []
    for name, module in model.named_modules():
        # PEFT mixes LoraLayer into every layer it makes; its own small A and B modules are none.
        if isinstance(module, LoraLayer) and any(p.requires_grad for p in module.parameters()):
            sites.append(_site(name, module))
    return sites


def adapter_parameters(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Trainable names and parameters in the flat vector's order, each known to be A or B of a LoRA layer.

    Raises:
        SottoError: as `lora_sites`; if nothing is trainable, something outside LoRA layers is, or two parameters share
            their memory.
    """
    named = trainable_parameters(model)
    if not named:
        raise SottoError("the model has no trainable parameter; attach an adapter first")
    covered = {id(parameter) for site in lora_sites(model) for parameter in (site.a, site.b)}
    for name, parameter in named:
        if id(parameter) not in covered:
            raise SottoError(
                f"trainable parameter {name} has no per-sample rule; allowed: LoRA's A and B on Linear, Conv1D, Conv2d "
                f"and Embedding"
            )
    storages = {parameter.data_ptr() for _, parameter in named}
    if len(storages) < len(named):
        raise SottoError("two trainable parameters share their memory; allowed: one parameter used in several layers")
    return named


@contextmanager
def fused_lora(model: nn.Module, sink_of: Callable[[LoraSite], PairSink | None] | None = None) -> Iterator[None]:
    """Within the block the model's LoRA layers run as single autograd nodes that save only x and h.

    Args:
        model: model with a LoRA adapter.
        sink_of: gives the sink for a layer (see `kernels.lora_linear`); None runs an ordinary, non-private layer
            whose A and B get gradients as usual.

    Raises:
        SottoError: as `lora_sites`.
    """

    def forward_of(site: LoraSite) -> Callable[[Tensor], Tensor]:
        return partial(_FORWARDS[type(site.module)], site, sink=None if sink_of is None else sink_of(site))

    with patched_lora(model, forward_of):
        yield


@contextmanager
def patched_lora(model: nn.Module, forward_of: Callable[[LoraSite], Callable[[Tensor], Tensor]]) -> Iterator[None]:
    """Within the block each of the model's LoRA layers runs as `forward_of` says, and takes its input alone.

    Raises:
        SottoError: as `lora_sites`; in the block, if a layer is called with more than its input.
    """
    patched: list[tuple[nn.Module, Any]] = []
    try:
        for site in lora_sites(model):
            run = forward_of(site)
            patched.append((site.module, site.module.__dict__.get("forward")))
            site.module.forward = _of_input_alone(site, run)
        yield
    finally:
        for module, before in patched:
            if before is None:
                del module.forward
            else:
                module.forward = before  # another library's own wrapper


def _site(name: str, module: Any) -> LoraSite:
    where = f"LoRA layer {name}"
    if type(module) not in _FORWARDS:
        raise SottoError(f"{where} is a {type(module).__name__}; allowed: LoRA on Linear, Conv1D, Conv2d, Embedding")
    known = module.lora_embedding_A if isinstance(module, PeftEmbedding) else module.lora_A
    adapters = [adapter for adapter in module.active_adapters if adapter in known]
    if len(adapters) != 1:
        raise SottoError(f"{where} has {len(adapters)} active adapters; allowed: one")
    adapter = adapters[0]
    if module.merged or module.disable_adapters:
        raise SottoError(f"{where} has its adapter merged or disabled; unmerge and enable it first")
    if adapter in module.lora_variant:
        variant = type(module.lora_variant[adapter]).__name__
        raise SottoError(f"{where} uses PEFT's {variant}; allowed: plain LoRA")
    if isinstance(module, PeftConv2d) and module.get_base_layer().padding_mode != "zeros":
        mode = module.get_base_layer().padding_mode
        raise SottoError(f"{where} pads with mode {mode!r}; allowed: 'zeros'")
    if isinstance(module, PeftEmbedding) and module._get_embed_scale() is not None:
        raise SottoError(f"{where} scales its embeddings; allowed: LoRA on embeddings without a scale")
    if isinstance(module, PeftEmbedding) and module.get_base_layer().max_norm is not None:
        raise SottoError(f"{where} renormalises its embeddings (max_norm); allowed: max_norm=None")
    return LoraSite(name, module, adapter)


def _of_input_alone(site: LoraSite, run: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    def forward(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if args or any(value is not None for value in kwargs.values()):
            given = [f"{len(args)} positional"] * bool(args) + sorted(kwargs)
            raise SottoError(f"LoRA layer {site.name} was called with {', '.join(given)}; allowed: the input alone")
        return run(x)

    return forward


def _run_linear(site: LoraSite, x: Tensor, sink: PairSink | None) -> Tensor:
    module = site.module
    base = module.get_base_layer()
    dropout = module.lora_dropout[site.adapter]
    if _is_plain(base) and x.dtype == base.weight.dtype and not (_drops(dropout) and module.training):
        return lora_linear(x, base.weight, base.bias, site.a, site.b, site.scaling, type(base) is Conv1D, sink)
    return lora_branch(base(x), site.entering(x.to(site.a.dtype)), site.a, site.b, site.scaling, sink)


def _run_conv2d(site: LoraSite, x: Tensor, sink: PairSink | None) -> Tensor:
    y = site.module.get_base_layer()(x)
    return lora_conv2d(y, site.entering(x), site.a, site.b, site.scaling, site.geometry, site.groups, sink)


def _run_embedding(site: LoraSite, ids: Tensor, sink: PairSink | None) -> Tensor:
    return lora_embedding(site.module.get_base_layer()(ids), ids, site.a, site.b, site.scaling, sink)


_FORWARDS: dict[type, Callable[..., Tensor]] = {
    PeftLinear: _run_linear,
    PeftConv2d: _run_conv2d,
    PeftEmbedding: _run_embedding,
}


def _is_plain(base: nn.Module) -> bool:
    """Whether calling the base layer is nothing but its product: no hooks, no wrapper, nothing trainable."""
    return (
        type(base) in (nn.Linear, Conv1D)
        and "forward" not in base.__dict__
        and not (base._forward_hooks or base._forward_pre_hooks or base._backward_hooks or base._backward_pre_hooks)
        and not any(parameter.requires_grad for parameter in base.parameters())
    )


def _drops(dropout: nn.Module) -> bool:
    return not isinstance(dropout, nn.Identity) and getattr(dropout, "p", 1.0) > 0


def _padded(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """The input with the zeros of `padding="same"` around it, which may differ by side; else the input itself."""
    if conv.padding != "same":
        return x
    extra = [d * (k - 1) for d, k in zip(conv.dilation, conv.kernel_size, strict=True)]
    sides = [(total // 2, total - total // 2) for total in reversed(extra)]
    return F.pad(x, [side for pair in sides for side in pair])
