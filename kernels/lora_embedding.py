"""LoRA on an embedding as one autograd node, and its per-sample gradients.

`y = base + scaling A[:, ids]^T B^T`. With a sink the backward pass hands over what per-sample gradients are made of,
and never sums over samples.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kernels.lora_linear import PairSink

__all__ = ["embedding_per_sample_grad", "lora_embedding"]


def lora_embedding(
    y: Tensor, ids: Tensor, A: Tensor, B: Tensor, scaling: float, sink: PairSink | None = None
) -> Tensor:
    """`y + scaling A[:, ids]^T B^T`.

    Args:
        y: the base embedding's output `[..., d]`.
        ids: `[...]` token ids.
        A: `[r, vocabulary]`.
        B: `[d, r]`.
        scaling: alpha / r.
        sink: receives `(ids, u, h, grad_y)` in the backward pass, instead of gradients for A and B.
    """
    result: Tensor = _LoraEmbedding.apply(y, ids, A, B, scaling, sink)  # type: ignore[no-untyped-call]
    return result


def embedding_per_sample_grad(ids: Tensor, u: Tensor, vocabulary: int) -> Tensor:
    """Gradient of A for every sample, `[b, r, vocabulary]`, from ids `[b, t]` and gradients at the rank `[b, t, r]`."""
    grad = u.new_zeros(ids.shape[0], vocabulary, u.shape[-1])
    if u.is_cuda:
        # Sorts where scatter_add_ would use float atomics, whose order and so whose sum changes from run to run.
        samples = torch.arange(ids.shape[0], device=ids.device)[:, None].expand_as(ids)
        grad.index_put_((samples, ids), u, accumulate=True)
    else:
        grad.scatter_add_(1, ids.unsqueeze(-1).expand(-1, -1, u.shape[-1]), u)
    return grad.transpose(1, 2)


class _LoraEmbedding(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, y: Tensor, ids: Tensor, A: Tensor, B: Tensor, scaling: float, sink: PairSink | None
    ) -> Tensor:
        h = A.t()[ids]
        ctx.save_for_backward(ids, h, A, B)
        ctx.scaling, ctx.sink = scaling, sink
        return y + (scaling * (h @ B.t())).to(y.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        ids, h, A, B = ctx.saved_tensors
        g = grad_y.to(B.dtype)
        u = ctx.scaling * (g @ B)
        grad_a = grad_b = None
        if ctx.sink is not None:
            ctx.sink(ids, u, h, grad_y)
        else:
            if ctx.needs_input_grad[2]:
                grad_a = torch.zeros_like(A)
                grad_a.index_add_(1, ids.flatten(), u.flatten(0, -2).t())
            if ctx.needs_input_grad[3]:
                grad_b = ctx.scaling * (g.flatten(0, -2).t() @ h.flatten(0, -2))
        return grad_y, None, grad_a, grad_b, None, None
