"""From what a LoRA layer's backward pass hands over to per-sample gradients in a store.

One sink per layer and pass, by the layer's kind. It never computes a gradient whose samples it cannot tell apart:
inputs that do not keep the batch first are refused.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fl_core.gradients.lora_layers import LoraSite
from kernels import conv2d_per_sample_grad, embedding_per_sample_grad
from kernels.gradient_store import GradientStore
from kernels.lora_conv2d import ConvGeometry
from kernels.lora_linear import PairSink
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
    sink = _Sink(site, a, b, store, batch)
    return {"linear": sink.linear, "conv2d": sink.conv2d, "embedding": sink.embedding}[site.kind]


@dataclass(frozen=True)
class _Sink:
    """Its methods take what `kernels.lora_linear.PairSink` says: inputs, u, h and the gradient at the output."""

    site: LoraSite
    a: int | None
    b: int | None
    store: GradientStore
    batch: int

    def linear(self, x: Tensor, u: Tensor, h: Tensor, g: Tensor) -> None:
        x, u, h, g = (_by_sample(value, self.batch, self.site.name) for value in (x, u, h, g))
        self.store.add_pair(self.a, self.b, x, u, h, g, self.site.scaling)

    def embedding(self, ids: Tensor, u: Tensor, h: Tensor, g: Tensor) -> None:
        rows, u, h, g = (_by_sample(value, self.batch, self.site.name) for value in (ids.unsqueeze(-1), u, h, g))
        if self.a is not None:
            vocabulary = self.site.a.shape[1]
            self.store.add(
                self.a, lambda: embedding_per_sample_grad(rows.squeeze(-1), u.to(self.store.dtype), vocabulary)
            )
        if self.b is not None:
            self.store.add_pair(None, self.b, rows, u, h, g, self.site.scaling)

    def conv2d(self, x: Tensor, u: Tensor, h: Tensor, g: Tensor) -> None:
        if x.shape[0] != self.batch:
            raise SottoError(
                f"LoRA layer {self.site.name} sees {x.shape[0]} images for {self.batch} samples; its inputs must keep "
                f"the batch first"
            )
        x, u, h, g = (value.to(self.store.dtype) for value in (x, u, h, g))
        site, groups = self.site, ConvGeometry(groups=self.site.groups)
        if self.a is not None:
            kernel = (site.a.shape[2], site.a.shape[3])
            self.store.add(self.a, lambda: conv2d_per_sample_grad(x, u, kernel, site.geometry))
        if self.b is not None:
            self.store.add(self.b, lambda: site.scaling * conv2d_per_sample_grad(h, g, (1, 1), groups))


def _by_sample(value: Tensor, batch: int, name: str) -> Tensor:
    """`[b, t, d]` from `[b, ..., d]`, or from rows `[b t, d]` of all samples in order (OPT flattens so).

    Rows in another order would give wrong gradients; the first call's check of `PrivateGradient` finds that.
    """
    if value.shape[0] != batch and (value.dim() != 2 or value.shape[0] % batch):
        raise SottoError(
            f"LoRA layer {name} sees {value.shape[0]} rows for {batch} samples; its inputs must keep the batch first"
        )
    return value.reshape(batch, -1, value.shape[-1])
