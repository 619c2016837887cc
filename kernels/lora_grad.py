"""Per-sample gradients of the layers that LoRA adapters are made of, vectorised in PyTorch.

Each function takes what a layer saw in its forward pass and the gradient at its output, and gives one weight
gradient per sample. They never sum over samples: that is `kernels.clip_sum`'s work, after clipping.
Squared norms are those of the *stored* values (what is summed later), accumulated in float64, because an error in
the norm is an error in the sensitivity.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "conv2d_per_sample_grad",
    "linear_per_sample_grad",
    "lora_embedding_per_sample_grads",
    "lora_per_sample_grads",
    "squared_norms",
]

_BLOCK = 2**17  # coordinates


def squared_norms(*grads: Tensor) -> Tensor:
    """Squared L2 norm per sample over all given `[b, ...]` tensors, float64 `[b]`."""
    total = torch.zeros(grads[0].shape[0], dtype=torch.float64, device=grads[0].device)
    for grad in grads:
        flat = grad.flatten(1)
        # A few rows at a time: the float64 copy stays in the processor's cache.
        step = max(1, _BLOCK // max(1, flat.shape[1]))
        for start in range(0, flat.shape[0], step):
            total[start : start + step] += flat[start : start + step].to(torch.float64).square().sum(1)
    return total


def linear_per_sample_grad(x: Tensor, grad_y: Tensor) -> Tensor:
    """Weight gradient per sample of `y = x W^T`.

    Args:
        x: inputs `[b, ..., d_in]`.
        grad_y: gradients at the output `[b, ..., d_out]`, same leading shape.

    Returns:
        `[b, d_out, d_in]`, in the promoted dtype of the inputs, at least float32.

    Raises:
        ValueError: if the leading shapes differ.
    """
    if x.shape[:-1] != grad_y.shape[:-1]:
        raise ValueError(f"x {tuple(x.shape)} and grad_y {tuple(grad_y.shape)} differ in batch or positions")
    batch = x.shape[0]
    dtype = _accumulation_dtype(x, grad_y)
    positions = x[0].numel() // x.shape[-1] if batch else 1
    x3 = x.reshape(batch, positions, x.shape[-1]).to(dtype)
    g3 = grad_y.reshape(batch, positions, grad_y.shape[-1]).to(dtype)
    return torch.bmm(g3.transpose(1, 2), x3)


def conv2d_per_sample_grad(x: Tensor, grad_y: Tensor, module: torch.nn.Conv2d) -> Tensor:
    """Weight gradient per sample of an ungrouped or grouped `Conv2d`.

    Args:
        x: inputs `[b, c_in, h, w]`.
        grad_y: gradients at the output `[b, c_out, h', w']`.
        module: the convolution, for its geometry.

    Returns:
        `[b, *module.weight.shape]`.

    Raises:
        ValueError: for a padding mode other than zeros.
    """
    if module.padding_mode != "zeros":
        raise ValueError(f"padding mode {module.padding_mode!r} is not supported; allowed: 'zeros'")
    dtype = _accumulation_dtype(x, grad_y)
    batch, c_out = grad_y.shape[:2]
    kernel = tuple(module.kernel_size)
    if module.padding == "same":
        total = [d * (k - 1) for d, k in zip(module.dilation, kernel, strict=True)]
        x = F.pad(x, (total[1] // 2, total[1] - total[1] // 2, total[0] // 2, total[0] - total[0] // 2))
        padding: tuple[int, ...] = (0, 0)
    elif module.padding == "valid":
        padding = (0, 0)
    else:
        padding = tuple(int(p) for p in module.padding)
    columns = F.unfold(x.to(dtype), kernel, tuple(module.dilation), padding, tuple(module.stride))
    # unfold gives one column per output position, rows ordered (c_in, kh, kw): the weight's own layout.
    groups = module.groups
    columns = columns.reshape(batch * groups, -1, columns.shape[-1])
    g3 = grad_y.to(dtype).reshape(batch * groups, c_out // groups, -1)
    return torch.bmm(g3, columns.transpose(1, 2)).reshape(batch, *module.weight.shape)


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
    dtype = _accumulation_dtype(x, grad_y)
    x, grad_y, A, B = x.to(dtype), grad_y.to(dtype), A.to(dtype), B.to(dtype)
    grad_A = linear_per_sample_grad(x, scaling * (grad_y @ B))
    grad_B = linear_per_sample_grad(x @ A.T, scaling * grad_y)
    return grad_A, grad_B, squared_norms(grad_A, grad_B)


def lora_embedding_per_sample_grads(
    ids: Tensor, grad_y: Tensor, A: Tensor, B: Tensor, scaling: float
) -> tuple[Tensor, Tensor]:
    """Per-sample gradients of PEFT's LoRA on an embedding, `y = E[ids] + scaling * A[:, ids]^T B^T`.

    Args:
        ids: `[b, t]` token ids.
        grad_y: `[b, t, d]`.
        A: `[r, vocabulary]`.
        B: `[d, r]`.
        scaling: alpha / r.

    Returns:
        `grad_A [b, r, vocabulary]` and `grad_B [b, d, r]`.
    """
    dtype = _accumulation_dtype(A, grad_y)
    grad_y, A, B = grad_y.to(dtype), A.to(dtype), B.to(dtype)
    h = A.T[ids]
    u = scaling * (grad_y @ B)
    grad_A = torch.zeros(ids.shape[0], A.shape[1], A.shape[0], dtype=dtype, device=A.device)
    grad_A.scatter_add_(1, ids.unsqueeze(-1).expand(-1, -1, A.shape[0]), u)
    return grad_A.transpose(1, 2), linear_per_sample_grad(h, scaling * grad_y)


def _accumulation_dtype(*tensors: Tensor) -> torch.dtype:
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype
