"""LoRA on a two-dimensional convolution as one autograd node, and per-sample gradients of convolutions.

`y = base + scaling B(A(x))` with A a convolution to r channels and B a 1 x 1 convolution. With a sink the backward pass
hands over what per-sample gradients are made of, and never sums over samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_input, conv2d_weight

from kernels.lora_linear import PairSink

__all__ = ["ConvGeometry", "conv2d_per_sample_grad", "lora_conv2d"]

_Pair = tuple[int, int]

# Numbers of unfolded windows at a time.
_CPU_WINDOWS = 2**20
_GPU_WINDOWS = 2**27


@dataclass(frozen=True)
class ConvGeometry:
    """How a convolution walks over its input, (rows, columns) each; zero padding, the same on both sides."""

    stride: _Pair = (1, 1)
    padding: _Pair = (0, 0)
    dilation: _Pair = (1, 1)
    groups: int = 1

    @property
    def arguments(self) -> tuple[_Pair, _Pair, _Pair, int]:
        """In the order of torch's convolutions: stride, padding, dilation, groups."""
        return self.stride, self.padding, self.dilation, self.groups


def lora_conv2d(
    y: Tensor,
    x: Tensor,
    A: Tensor,
    B: Tensor,
    scaling: float,
    geometry: ConvGeometry,
    groups: int = 1,
    sink: PairSink | None = None,
) -> Tensor:
    """`y + scaling B(A(x))`.

    Args:
        y: the base convolution's output `[b, c_out, h', w']`.
        x: its input `[b, c_in, h, w]`.
        A: `[r, c_in / geometry.groups, kh, kw]`.
        B: `[c_out, r / groups, 1, 1]`.
        scaling: alpha / r.
        geometry: of A.
        groups: of B.
        sink: receives `(x, u, h, grad_y)` in the backward pass, `u` and `h` `[b, r, h', w']`.
    """
    result: Tensor = _LoraConv2d.apply(y, x, A, B, scaling, geometry, groups, sink)  # type: ignore[no-untyped-call]
    return result


def conv2d_per_sample_grad(x: Tensor, grad_y: Tensor, kernel: _Pair, geometry: ConvGeometry) -> Tensor:
    """Weight gradient per sample of a convolution.

    Args:
        x: inputs `[b, c_in, h, w]`.
        grad_y: gradients at the output `[b, c_out, h', w']`.
        kernel: (rows, columns) of the weight.
        geometry: stride, padding, dilation, groups.

    Returns:
        `[b, c_out, c_in / groups, *kernel]`.
    """
    batch, c_out = grad_y.shape[:2]
    groups, positions = geometry.groups, grad_y.shape[2] * grad_y.shape[3]
    inside = x.shape[1] * kernel[0] * kernel[1]
    grads = x.new_empty(batch * groups, c_out // groups, inside // groups)
    # A few samples at a time: an input's windows are many times the input, and stay in the processor's cache like this.
    step = max(1, (_GPU_WINDOWS if x.is_cuda else _CPU_WINDOWS) // max(1, inside * positions))
    for start in range(0, batch, step):
        some = slice(start, start + step)
        columns = _windows(x[some], kernel, geometry).reshape(-1, inside // groups, positions)
        rows = grad_y[some].reshape(-1, c_out // groups, positions)
        torch.bmm(rows, columns.transpose(1, 2), out=grads[start * groups : (start + step) * groups])
    return grads.view(batch, c_out, x.shape[1] // groups, *kernel)


def _windows(x: Tensor, kernel: _Pair, geometry: ConvGeometry) -> Tensor:
    """What each output position sees, `[b, c_in, kh, kw, h', w']`: a view of the padded input, in the weight's order.

    The numbers of `torch.nn.functional.unfold`, which copies them several times slower.
    """
    pad, stride, dilation = geometry.padding, geometry.stride, geometry.dilation
    x = F.pad(x, (pad[1], pad[1], pad[0], pad[0])) if any(pad) else x
    batch, channels, *size = x.shape
    counts = [(n - d * (k - 1) - 1) // s + 1 for n, d, k, s in zip(size, dilation, kernel, stride, strict=True)]
    b, c, h, w = x.stride()
    steps = (b, c, h * dilation[0], w * dilation[1], h * stride[0], w * stride[1])
    return x.as_strided((batch, channels, *kernel, *counts), steps)


class _LoraConv2d(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        y: Tensor,
        x: Tensor,
        A: Tensor,
        B: Tensor,
        scaling: float,
        geometry: ConvGeometry,
        groups: int,
        sink: PairSink | None,
    ) -> Tensor:
        h = F.conv2d(x.to(A.dtype), A, None, *geometry.arguments)
        ctx.save_for_backward(x, h, A, B)
        ctx.scaling, ctx.geometry, ctx.groups, ctx.sink = scaling, geometry, groups, sink
        return y + (scaling * F.conv2d(h, B, groups=groups)).to(y.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        x, h, A, B = ctx.saved_tensors
        walk = ctx.geometry.arguments
        g = ctx.scaling * grad_y.to(B.dtype)
        u = conv2d_input(h.shape, B, g, groups=ctx.groups)  # type: ignore[no-untyped-call]
        grad_x = grad_a = grad_b = None
        if ctx.needs_input_grad[1]:
            grad_x = conv2d_input(x.shape, A, u, *walk).to(x.dtype)  # type: ignore[no-untyped-call]
        if ctx.sink is not None:
            ctx.sink(x, u, h, grad_y)
        else:
            if ctx.needs_input_grad[2]:
                grad_a = conv2d_weight(x.to(A.dtype), A.shape, u, *walk)  # type: ignore[no-untyped-call]
            if ctx.needs_input_grad[3]:
                grad_b = conv2d_weight(h, B.shape, g, groups=ctx.groups)  # type: ignore[no-untyped-call]
        return grad_y, grad_x, grad_a, grad_b, None, None, None, None
