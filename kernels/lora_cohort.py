"""LoRA with an adapter of its own for each client of a batch, for Linear (GPT-2's Conv1D too), Conv2d and Embedding.

Takes the frozen base layer's output for all rows, which one product gave, and adds each client's branch by small
products of its own; autograd gives the stacked gradients. Rows are client-major: client i's are `i b` to
`(i + 1) b - 1`. No sum ever runs over two clients, so that what is not finite in one stays there.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.lora_conv2d import ConvGeometry

__all__ = ["cohort_conv2d", "cohort_embedding", "cohort_linear"]


def cohort_linear(y: Tensor, x: Tensor, A: Tensor, B: Tensor, scaling: float) -> Tensor:
    """`y + scaling (x A_i^T) B_i^T` for the rows of client i (Hu et al. 2021, equation 3).

    Args:
        y: the base layer's output `[g b, ..., d_out]`.
        x: the adapter's input `[g b, ..., d_in]`; also rows of all samples in order, `[g b t, d_in]`.
        A: `[g, r, d_in]`; may have another dtype than `x`, which is cast for the adapter's part.
        B: `[g, d_out, r]`.
        scaling: alpha / r.

    Raises:
        ValueError: if the clients' rows are not equally many.
    """
    clients = _clients(x, A, B)
    h = torch.bmm(x.reshape(clients, -1, x.shape[-1]).to(A.dtype), A.transpose(1, 2))
    return _added(y, h, B, scaling)


def cohort_embedding(y: Tensor, ids: Tensor, A: Tensor, B: Tensor, scaling: float) -> Tensor:
    """`y + scaling A_i[:, ids]^T B_i^T` for the rows of client i.

    Args:
        y: the base embedding's output `[g b, ..., d]`.
        ids: `[g b, ...]` token ids.
        A: `[g, r, vocabulary]`.
        B: `[g, d, r]`.
        scaling: alpha / r.

    Raises:
        ValueError: if the clients' rows are not equally many.
    """
    clients, vocabulary = _clients(ids, A, B), A.shape[2]
    # All clients' tables, one below the other.
    tables = A.transpose(1, 2).reshape(clients * vocabulary, -1)
    first = torch.arange(clients, device=ids.device)[:, None] * vocabulary
    return _added(y, F.embedding(ids.reshape(clients, -1) + first, tables), B, scaling)


def cohort_conv2d(
    y: Tensor, x: Tensor, A: Tensor, B: Tensor, scaling: float, geometry: ConvGeometry, groups: int = 1
) -> Tensor:
    """`y + scaling B_i(A_i(x))` for the images of client i.

    One small convolution a client: over clients as groups of one convolution, torch was slower on a CPU when measured,
    and backends may compute groups as blocks of a dense product, in which one client's infinity times another's zero is
    not a number.

    Args:
        y: the base convolution's output `[g b, c_out, h', w']`.
        x: its input `[g b, c_in, h, w]`.
        A: `[g, r, c_in / geometry.groups, kh, kw]`.
        B: `[g, c_out, r / groups, 1, 1]`.
        scaling: alpha / r.
        geometry: of A.
        groups: of B.

    Raises:
        ValueError: if the clients' rows are not equally many.
    """
    images = torch.split(x.to(A.dtype), len(x) // _clients(x, A, B))
    walk = geometry.arguments
    branches = [
        F.conv2d(F.conv2d(own, a, None, *walk), b, groups=groups) for own, a, b in zip(images, A, B, strict=True)
    ]
    return torch.add(y, torch.cat(branches).to(y.dtype), alpha=scaling)


def _clients(x: Tensor, A: Tensor, B: Tensor) -> int:
    clients = len(A)
    if len(B) != clients or clients == 0 or len(x) == 0 or len(x) % clients:
        raise ValueError(f"{len(x)} rows do not divide over {clients} clients' A and {len(B)} clients' B")
    return clients


def _added(y: Tensor, h: Tensor, B: Tensor, scaling: float) -> Tensor:
    """`y + scaling h_i B_i^T`, in one operation if the dtypes agree."""
    rows = y.reshape(len(h), -1, y.shape[-1])
    if y.dtype == h.dtype:
        return torch.baddbmm(rows, h, B.transpose(1, 2), alpha=scaling).view(y.shape)
    return y + (scaling * torch.bmm(h, B.transpose(1, 2))).to(y.dtype).view(y.shape)
