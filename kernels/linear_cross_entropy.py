"""Cross-entropy of a linear head, one loss per sequence, without ever holding the `[tokens, vocabulary]` logits.

Works through the tokens in chunks of fixed size: logits of a chunk, their softmax, and at once the gradient at the
hidden states, so that only one chunk's logits exist. That gradient is exact for per-sequence losses, since the backward
pass only scales each sequence's part by a number. All tokens are computed, ignored ones too: were they skipped, a
sequence's padding would move its neighbours between chunks, and rounding would tell.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kernels.backend import runs_triton

__all__ = ["linear_cross_entropy"]

# Tokens a chunk: on a CPU enough rows for a fast product while the logits stay small; on a GPU enough to fill it.
_CPU_CHUNK = 256
_GPU_CHUNK = 1024
# Below this a softmax entry has lost digits, and the loss is computed from the logits again.
_TINY = 1e-30


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    bias: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int = -100,
    chunk: int | None = None,
) -> Tensor:
    """Loss of each sequence: the mean or sum over its own valid tokens of `-log softmax(hidden W^T + bias)[label]`.

    Args:
        hidden: `[b, t, d]`, aligned with `labels` (shift before).
        weight: `[v, d]`.
        labels: int64 `[b, t]`, in 0..v-1 or `ignore_index`.
        bias: `[v]` or None.
        reduction: "mean" (over the sequence's own valid tokens) or "sum".
        ignore_index: label of tokens that do not count; a sequence of only such tokens has loss 0.
        chunk: tokens whose logits exist at a time.

    Returns:
        float32 `[b]` (float64 for float64 inputs). Differentiable in `hidden`, `weight` and `bias`.

    Raises:
        ValueError: for shapes that do not fit, another reduction, or (on a CPU, where looking costs nothing) a label
            out of range.
    """
    if hidden.dim() != 3 or labels.shape != hidden.shape[:2] or weight.shape[1:] != hidden.shape[2:]:
        raise ValueError(
            f"shapes do not fit: hidden {tuple(hidden.shape)}, weight {tuple(weight.shape)}, "
            f"labels {tuple(labels.shape)}"
        )
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction is {reduction!r}; allowed: 'mean', 'sum'")
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk is {chunk}; allowed: 1 or more tokens")
    valid = labels != ignore_index
    if labels.device.type == "cpu" and bool((valid & ((labels < 0) | (labels >= weight.shape[0]))).any()):
        raise ValueError(f"a label is out of range; allowed: 0 to {weight.shape[0] - 1}, or {ignore_index} to ignore")
    counts = valid.sum(1, keepdim=True) if reduction == "mean" else torch.ones_like(labels[:, :1])
    # A third in float32 would be float32's third in a float64 loss too.
    dtype = torch.float64 if hidden.dtype == torch.float64 else torch.float32
    shares = valid.to(dtype) / counts.clamp(min=1)
    losses: Tensor = _LinearCrossEntropy.apply(  # type: ignore[no-untyped-call]
        hidden, weight, bias, labels.where(valid, 0), shares, chunk or (_GPU_CHUNK if hidden.is_cuda else _CPU_CHUNK)
    )
    return losses


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, shares: Tensor, chunk: int
    ) -> Tensor:
        batch, positions, width = hidden.shape
        rows, targets = hidden.reshape(-1, width), labels.reshape(-1)
        part = shares.reshape(-1)
        losses = torch.empty_like(part)
        slopes = torch.empty_like(rows) if ctx.needs_input_grad[0] else None
        work = _Logits(weight, bias, chunk, len(rows), hidden)
        for start in range(0, len(rows), chunk):
            piece = slice(start, start + chunk)
            slope = None if slopes is None else slopes[piece]
            losses[piece] = work.losses(rows[piece], targets[piece], part[piece], slope)
        ctx.save_for_backward(hidden, weight, bias, labels, shares, slopes)
        ctx.chunk = chunk
        return (losses * part).masked_fill(part == 0, 0.0).view(batch, positions).sum(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_losses: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, labels, shares, slopes = ctx.saved_tensors
        grad_hidden = grad_weight = grad_bias = None
        if slopes is not None:
            grad_hidden = slopes.view(hidden.shape) * grad_losses.to(slopes.dtype)[:, None, None]
        if ctx.needs_input_grad[1] or (bias is not None and ctx.needs_input_grad[2]):
            scale = shares.to(grad_losses.dtype) * grad_losses[:, None]
            grad_weight, grad_bias = _head_gradients(hidden, weight, bias, labels, scale, ctx.chunk)
            if bias is None or not ctx.needs_input_grad[2]:
                grad_bias = None
        return grad_hidden, grad_weight, grad_bias, None, None, None


class _Logits:
    """Room for one chunk's logits, and what is done with them."""

    def __init__(self, weight: Tensor, bias: Tensor | None, chunk: int, tokens: int, like: Tensor) -> None:
        self.weight, self.bias = weight, bias
        size = (min(chunk, tokens), weight.shape[0])
        self.room = torch.empty(size, dtype=like.dtype, device=like.device)
        low = like.dtype in (torch.bfloat16, torch.float16)
        # The kernel computes in float32, which is too little for a float64 loss.
        self.triton = runs_triton(like) and like.dtype != torch.float64
        self.wide = torch.empty(size, dtype=torch.float32, device=like.device) if low and not self.triton else None

    def losses(self, rows: Tensor, targets: Tensor, shares: Tensor, slope: Tensor | None) -> Tensor:
        """Losses of a chunk's tokens, unweighted; into `slope`, if given, the weighted gradient at `rows`."""
        logits = self._logits(rows)
        if self.triton:
            from kernels.gpu.cross_entropy import cross_entropy_rows

            losses = cross_entropy_rows(logits, targets, shares)  # logits now hold the weighted gradient
            if slope is not None:
                torch.mm(logits, self.weight, out=slope)
            return losses
        softmax = self._softmax(logits)
        probable = softmax.gather(1, targets[:, None]).squeeze(1)
        losses = probable.log().neg_()
        lost = probable < _TINY
        if bool(lost.any()):
            again = (rows[lost] @ self.weight.t()).to(softmax.dtype)
            if self.bias is not None:
                again += self.bias
            losses[lost] = torch.nn.functional.cross_entropy(again, targets[lost], reduction="none")
        if slope is not None:
            # softmax W - W[label]: the one-hot part never needs the vocabulary's width.
            torch.mm(softmax.to(rows.dtype), self.weight, out=slope)
            slope.sub_(self.weight[targets]).mul_(shares[:, None])
            slope.masked_fill_(shares[:, None] == 0, 0.0)
        return losses

    def softmax(self, rows: Tensor) -> Tensor:
        """Softmax of a chunk's logits, at least float32."""
        return self._softmax(self._logits(rows))

    def _logits(self, rows: Tensor) -> Tensor:
        logits = torch.mm(rows, self.weight.t(), out=self.room[: len(rows)])
        return logits if self.bias is None else logits.add_(self.bias)

    def _softmax(self, logits: Tensor) -> Tensor:
        wide = logits if self.wide is None else self.wide[: len(logits)].copy_(logits)
        return torch.softmax(wide, 1, out=wide)


def _head_gradients(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, scale: Tensor, chunk: int
) -> tuple[Tensor, Tensor]:
    """Gradients of weight and bias, with the softmax of each chunk computed once more."""
    rows, targets, scales = hidden.reshape(-1, hidden.shape[-1]), labels.reshape(-1), scale.reshape(-1)
    work = _Logits(weight, bias, chunk, len(rows), hidden)
    grad_weight = torch.zeros_like(weight, dtype=scale.dtype)
    grad_bias = torch.zeros(weight.shape[0], dtype=scale.dtype, device=weight.device)
    for start in range(0, len(rows), chunk):
        piece = slice(start, start + chunk)
        slope = work.softmax(rows[piece]).to(scale.dtype)
        slope.scatter_add_(1, targets[piece, None], torch.full_like(slope[:, :1], -1.0))
        slope.mul_(scales[piece, None]).masked_fill_(scales[piece, None] == 0, 0.0)
        grad_weight.addmm_(slope.t(), rows[piece].to(scale.dtype))
        grad_bias += slope.sum(0)
    return grad_weight.to(weight.dtype), grad_bias.to(weight.dtype)
