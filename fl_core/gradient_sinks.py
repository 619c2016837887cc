"""From what a LoRA layer's backward pass hands over to per-sample gradients in a store.

One sink per layer and pass, by the layer's kind. It never computes a gradient whose samples it cannot tell apart:
inputs that do not keep the batch first are refused.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor

from fl_core.lora_layers import LoraSite
from kernels import conv2d_per_sample_grad, embedding_per_sample_grad
from kernels.lora_conv2d import ConvGeometry
from kernels.lora_linear import PairSink
from kernels.recomputed_gradients import GradientStore
from secagg.errors import SottoError

__all__ = ["sink_for"]


def sink_for(site: LoraSite, a: int | None, b: int | None, store: GradientStore, batch: int) -> PairSink:
    """The sink of one layer.

    Args:
        site: the layer.
        a: position of A among the trainable parameters, or None if it is frozen.
        b: position of B, or None.
        store: where per-sample gradients go.
        batch: number of samples.
    """
    kinds = {"linear": _linear, "conv2d": _conv2d, "embedding": _embedding}
    return partial(kinds[site.kind], site, a, b, store, batch)


def _linear(
    site: LoraSite,
    a: int | None,
    b: int | None,
    store: GradientStore,
    batch: int,
    x: Tensor,
    u: Tensor,
    h: Tensor,
    g: Tensor,
) -> None:
    x, u, h, g = (_by_sample(value, batch, site.name) for value in (x, u, h, g))
    store.add_pair(a, b, x, u, h, g, site.scaling)


def _embedding(
    site: LoraSite,
    a: int | None,
    b: int | None,
    store: GradientStore,
    batch: int,
    ids: Tensor,
    u: Tensor,
    h: Tensor,
    g: Tensor,
) -> None:
    rows = _by_sample(ids.unsqueeze(-1), batch, site.name)
    u, h, g = (_by_sample(value, batch, site.name) for value in (u, h, g))
    if a is not None:
        vocabulary = site.a.shape[1]
        store.add(a, lambda: embedding_per_sample_grad(rows.squeeze(-1), u.to(store.dtype), vocabulary))
    if b is not None:
        store.add_pair(None, b, rows, u, h, g, site.scaling)


def _conv2d(
    site: LoraSite,
    a: int | None,
    b: int | None,
    store: GradientStore,
    batch: int,
    x: Tensor,
    u: Tensor,
    h: Tensor,
    g: Tensor,
) -> None:
    if x.shape[0] != batch:
        raise SottoError(
            f"LoRA layer {site.name} sees {x.shape[0]} images for {batch} samples; its inputs must keep the batch first"
        )
    x, u, h, g = (value.to(store.dtype) for value in (x, u, h, g))
    scaling, geometry, groups = site.scaling, site.geometry, ConvGeometry(groups=site.groups)
    if a is not None:
        kernel = (site.a.shape[2], site.a.shape[3])
        store.add(a, lambda: conv2d_per_sample_grad(x, u, kernel, geometry))
    if b is not None:
        store.add(b, lambda: scaling * conv2d_per_sample_grad(h, g, (1, 1), groups))


def _by_sample(value: Tensor, batch: int, name: str) -> Tensor:
    """`[b, t, d]` from `[b, ..., d]`, or from rows `[b t, d]` of all samples in order (OPT flattens so).

    Rows in another order would give wrong gradients; the first call's check of `PrivateGradient` finds that.
    """
    if value.shape[0] != batch and (value.dim() != 2 or value.shape[0] % batch):
        raise SottoError(
            f"LoRA layer {name} sees {value.shape[0]} rows for {batch} samples; its inputs must keep the batch first"
        )
    return value.reshape(batch, -1, value.shape[-1])
