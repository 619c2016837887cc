"""A LoRA linear layer as one autograd node: base product, adapter and their backward pass, saving only x and h.

`y = x W^T + bias + scaling (x A^T) B^T`. With a sink the backward pass hands over what per-sample gradients are made
of and computes no aggregated weight gradient; without one it is an ordinary, cheaper LoRA layer. The frozen base weight
never gets a gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["PairSink", "lora_branch", "lora_linear"]

# Called in the backward pass with x, u = scaling grad_y B, h = x A^T and grad_y, as the layer saw them.
PairSink = Callable[[Tensor, Tensor, Tensor, Tensor], None]


def lora_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    A: Tensor,
    B: Tensor,
    scaling: float,
    transposed: bool = False,
    sink: PairSink | None = None,
) -> Tensor:
    """`x W^T + bias + scaling (x A^T) B^T` (Hu et al. 2021, equation 3).

    Args:
        x: `[..., d_in]`.
        weight: frozen `[d_out, d_in]`, or `[d_in, d_out]` if `transposed` (GPT-2's Conv1D).
        bias: frozen `[d_out]` or None.
        A: `[r, d_in]`; may have another dtype than `x`, which is cast for the adapter's part.
        B: `[d_out, r]`.
        scaling: alpha / r.
        transposed: layout of `weight`.
        sink: receives `(x, u, h, grad_y)` in the backward pass, instead of gradients for A and B.

    Returns:
        `[..., d_out]` in the base product's dtype.
    """
    result: Tensor = _LoraLinear.apply(x, weight, bias, A, B, scaling, transposed, sink)  # type: ignore[no-untyped-call]
    return result


def lora_branch(y: Tensor, x: Tensor, A: Tensor, B: Tensor, scaling: float, sink: PairSink | None = None) -> Tensor:
    """`y + scaling (x A^T) B^T`: the adapter alone, for bases of any kind and inputs that went through dropout.

    Args:
        y: the base layer's output `[..., d_out]`.
        x: the adapter's input `[..., d_in]`.
        A: `[r, d_in]`.
        B: `[d_out, r]`.
        scaling: alpha / r.
        sink: as for `lora_linear`.
    """
    result: Tensor = _LoraBranch.apply(y, x, A, B, scaling, sink)  # type: ignore[no-untyped-call]
    return result


class _LoraLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        A: Tensor,
        B: Tensor,
        scaling: float,
        transposed: bool,
        sink: PairSink | None,
    ) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        w = weight if transposed else weight.t()
        y = torch.mm(rows, w) if bias is None else torch.addmm(bias, rows, w)
        h = torch.mm(rows.to(A.dtype), A.t())
        _add_product(y, h, B.t(), scaling)
        ctx.save_for_backward(x, h, weight, A, B)
        ctx.scaling, ctx.transposed, ctx.sink = scaling, transposed, sink
        return y.view(*x.shape[:-1], y.shape[-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        x, h, weight, A, B = ctx.saved_tensors
        g = grad_y.reshape(-1, grad_y.shape[-1])
        u = _scaled_product(g.to(B.dtype), B, ctx.scaling)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = torch.mm(g, weight.t() if ctx.transposed else weight)
            _add_product(grad_x, u, A, 1.0)
            grad_x = grad_x.view(x.shape)
        grad_a, grad_b = _adapter_grads(ctx, x, u, h, g, (3, 4))
        return grad_x, None, None, grad_a, grad_b, None, None, None


class _LoraBranch(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, x: Tensor, A: Tensor, B: Tensor, scaling: float, sink: PairSink | None) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        h = torch.mm(rows.to(A.dtype), A.t())
        result = y.reshape(-1, y.shape[-1]).clone()
        _add_product(result, h, B.t(), scaling)
        ctx.save_for_backward(x, h, A, B)
        ctx.scaling, ctx.sink = scaling, sink
        return result.view(y.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        x, h, A, B = ctx.saved_tensors
        g = grad_y.reshape(-1, grad_y.shape[-1])
        u = _scaled_product(g.to(B.dtype), B, ctx.scaling)
        grad_x = torch.mm(u, A).to(x.dtype).view(x.shape) if ctx.needs_input_grad[1] else None
        grad_a, grad_b = _adapter_grads(ctx, x, u, h, g, (2, 3))
        return grad_y, grad_x, grad_a, grad_b, None, None


def _adapter_grads(
    ctx: Any, x: Tensor, u: Tensor, h: Tensor, g: Tensor, inputs: tuple[int, int]
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of A and B, or None for both once the sink has what it needs."""
    if ctx.sink is not None:
        leading = x.shape[:-1]
        ctx.sink(x, u.view(*leading, -1), h.view(*leading, -1), g.view(*leading, -1))
        return None, None
    grad_a = grad_b = None
    if ctx.needs_input_grad[inputs[0]]:
        grad_a = torch.mm(u.t(), x.reshape(-1, x.shape[-1]).to(u.dtype))
    if ctx.needs_input_grad[inputs[1]]:
        grad_b = _scaled_product(g.t().to(h.dtype), h, ctx.scaling)
    return grad_a, grad_b


def _scaled_product(left: Tensor, right: Tensor, scaling: float) -> Tensor:
    """`scaling left right` in one operation."""
    return torch.addmm(ignored(left.dtype, left.device), left, right, beta=0, alpha=scaling)


@lru_cache(maxsize=16)
def ignored(dtype: torch.dtype, device: torch.device) -> Tensor:
    """A scalar for the summand of `addmm` and `baddbmm` that `beta=0` ignores."""
    return torch.zeros((), dtype=dtype, device=device)


def _add_product(total: Tensor, left: Tensor, right: Tensor, scaling: float) -> None:
    """`total += scaling left right`, in one operation if the dtypes agree."""
    if total.dtype == left.dtype:
        total.addmm_(left, right, alpha=scaling)
    else:
        total.add_(torch.mm(left, right), alpha=scaling)
