"""Per-sample gradients of a LoRA pair, and norms of what is stored.

Takes what a layer saw in its forward pass and the gradient at its output, and gives one gradient per sample for
each of A and B. They never sum over samples: that is `kernels.clip_sum`'s work, after clipping.
Squared norms are those of the *stored* values (what is summed later), accumulated in float64, because an error in
the norm is an error in the sensitivity.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.backend import runs_triton
from kernels.lora_linear import ignored

__all__ = [
    "lora_pair_grads",
    "lora_per_sample_grads",
    "squared_norms",
]

_SKINNY = 8  # ranks


def squared_norms(*grads: Tensor) -> Tensor:
    """Squared L2 norm per sample over all given `[b, ...]` tensors, float64 `[b]`."""
    norms = [torch.linalg.vector_norm(grad.flatten(1), dim=1, dtype=torch.float64) for grad in grads]
    return torch.stack(norms).square_().sum(0)


def lora_per_sample_grads(
    x: Tensor, grad_y: Tensor, A: Tensor, B: Tensor, scaling: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Per-sample gradients of a LoRA pair, `y = x W^T + scaling * (x A^T) B^T`.

    With `h = x A^T` and `u = scaling * grad_y B`: `grad_A_i = u_i^T x_i`, `grad_B_i = scaling * grad_y_i^T h_i`
    (sums over positions).

    Args:
        x: `[b, t, d_in]`.
        grad_y: `[b, t, d_out]`.
        A: `[r, d_in]`.
        B: `[d_out, r]`.
        scaling: alpha / r.

    Returns:
        `grad_A [b, r, d_in]`, `grad_B [b, d_out, r]`, `sq_norms [b]` (float64, of the two returned tensors).

    Raises:
        ValueError: if the shapes do not fit together.
    """
    if A.shape[1] != x.shape[-1] or B.shape[0] != grad_y.shape[-1] or A.shape[0] != B.shape[1]:
        raise ValueError(
            f"shapes do not fit: x {tuple(x.shape)}, grad_y {tuple(grad_y.shape)}, A {tuple(A.shape)}, "
            f"B {tuple(B.shape)}"
        )
    if x.shape[:-1] != grad_y.shape[:-1]:
        raise ValueError(f"x {tuple(x.shape)} and grad_y {tuple(grad_y.shape)} differ in batch or positions")
    dtype = _accumulation_dtype(x, grad_y)
    x, grad_y, A, B = x.to(dtype), grad_y.to(dtype), A.to(dtype), B.to(dtype)
    u = scaling * (grad_y @ B)
    h = x @ A.T
    if dtype == torch.float32 and runs_triton(x) and x.dim() == 3:
        return _launch(x, u, scaling * h, grad_y)
    grad_A, grad_B = lora_pair_grads(x, u, h, grad_y, scaling, dtype)
    assert grad_A is not None
    assert grad_B is not None
    grad_B = grad_B.contiguous()
    return grad_A, grad_B, squared_norms(grad_A, grad_B)


def lora_pair_grads(
    x: Tensor,
    u: Tensor,
    h: Tensor,
    g: Tensor,
    scaling: float,
    dtype: torch.dtype,
    want_a: bool = True,
    want_b: bool = True,
) -> tuple[Tensor | None, Tensor | None]:
    """`(u_i^T x_i, scaling g_i^T h_i)` for every sample i, from what a LoRA pair's backward pass has at hand.

    Args:
        x: inputs `[b, t, d_in]`.
        u: gradient at the rank `[b, t, r]`, scaling included.
        h: `x A^T`, `[b, t, r]`.
        g: gradient at the output `[b, t, d_out]`.
        scaling: alpha / r.
        dtype: of the results.
        want_a: whether the first is needed.
        want_b: whether the second is needed.

    Returns:
        `[b, r, d_in]` or None, `[b, d_out, r]` or None; the second may be a transposed view.
    """
    grad_a = grad_b = None
    if want_a:
        grad_a = torch.bmm(u.to(dtype).transpose(1, 2), x.to(dtype))
    if want_b:
        g, h = g.to(dtype), h.to(dtype)
        nothing = ignored(dtype, g.device)
        if h.shape[-1] <= _SKINNY:
            # BLAS handles a product with so few columns several times faster the other way round.
            grad_b = torch.baddbmm(nothing, h.transpose(1, 2), g, beta=0, alpha=scaling).transpose(1, 2)
        else:
            grad_b = torch.baddbmm(nothing, g.transpose(1, 2), h, beta=0, alpha=scaling)
    return grad_a, grad_b


def _launch(x: Tensor, u: Tensor, h: Tensor, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    from kernels.gpu.lora_grad import lora_grads, norm_tiles
    from kernels.launch_table import architecture

    batch, rank = x.shape[0], u.shape[-1]
    grad_a = x.new_empty(batch, rank, x.shape[-1])
    grad_b = x.new_empty(batch, g.shape[-1], rank)
    width = norm_tiles(x.shape[-1], g.shape[-1], rank, architecture(x.device))
    squares = torch.empty(batch, width, dtype=torch.float64, device=x.device)
    lora_grads(x, u, h, g, grad_a, grad_b, squares, False)
    return grad_a, grad_b, squares.sum(1)


def _accumulation_dtype(*tensors: Tensor) -> torch.dtype:
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype
