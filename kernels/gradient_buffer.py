"""Per-sample gradients of one batch in one flat buffer, which layers write while the backward pass runs.

A layer's tile is written once and its norm taken while it is hot; one pass then clips and sums all layers. It never
mixes samples before clipping.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from kernels.backend import runs_triton
from kernels.clip_sum import ClipSum, GaussianNoise, check_arguments, clip_and_sum_tiles
from kernels.lora_grad import lora_pair_grads

__all__ = ["GradientBuffer", "parameter_offsets"]

# Numbers whose squares are summed in the gradients' own dtype; such sums are then joined in float64. In whatever order
# 64 float32 squares are added, the norm is at most 63 / 2 2^-24 = 1.9e-6 too small, and 6e-7 with 4 lanes or more.
_BLOCK = 64


class GradientBuffer:
    """One flat `[b, p]` buffer of per-sample gradients.

    Args:
        shapes: shape of every trainable parameter, in the flat vector's order.
        batch: number of samples b.
        dtype: float32, or float64 for float64 models.
        device: where to allocate.

    Attributes:
        grads: `[b, p]`.
        written: indices of the parameters that have a gradient.
    """

    def __init__(
        self,
        shapes: Sequence[tuple[int, ...]],
        batch: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        self.shapes = list(shapes)
        self.batch = batch
        self.dtype = dtype
        self.device = torch.device(device)
        self.offsets, self.length = parameter_offsets(shapes)
        self.grads = torch.empty(batch, self.length, dtype=dtype, device=device)
        self.written: set[int] = set()
        self._triton = dtype == torch.float32 and runs_triton(self.grads)
        # Norms of blocks; squared norms of tiles where Triton writes them.
        columns = len(self.shapes) + self.length // _BLOCK + 1
        kind = torch.float64 if self._triton else dtype
        self._norms = torch.zeros(batch, columns, dtype=kind, device=device)
        self._columns: dict[tuple[int, ...], slice] = {}
        self._width = 0
        self._owner: dict[int, tuple[int, ...]] = {}
        self._stale = False

    @torch.no_grad()
    def add_pair(
        self, a: int | None, b: int | None, x: Tensor, u: Tensor, h: Tensor, g: Tensor, scaling: float
    ) -> None:
        """Add a LoRA pair's per-sample gradients: `u_i^T x_i` for parameter `a` and `scaling g_i^T h_i` for `b`.

        Args:
            a: index of A, or None if it is frozen.
            b: index of B, or None.
            x: inputs `[b, t, d_in]`.
            u: `[b, t, r]`, gradient at the rank, `scaling g B`.
            h: `[b, t, r]`, `x A^T`.
            g: `[b, t, d_out]`, gradient at the output.
            scaling: alpha / r.
        """
        indices = tuple(index for index in (a, b) if index is not None)
        if self._triton:
            self._launch_pair(a, b, indices, x, u, h, g, scaling)
            return
        grads = lora_pair_grads(x, u, h, g, scaling, self.dtype, a is not None, b is not None)
        for index, grad in zip((a, b), grads, strict=True):
            if index is not None and grad is not None:
                self._write(index, grad)
        if len(indices) == 2 and self.offsets[indices[1]] == self.offsets[indices[0]] + self._size(indices[0]):
            self._norm(indices)  # both lie side by side: one reduction
        else:
            for index in indices:
                self._norm((index,))

    @torch.no_grad()
    def add(self, index: int, make: Callable[[], Tensor]) -> None:
        """Add the per-sample gradients `[b, *shape]` of parameter `index` that `make()` computes."""
        self._write(index, make())
        self._norm((index,))

    @torch.no_grad()
    def norms(self) -> Tensor:
        """L2 norm of every sample's stored gradient, float64 `[b]`."""
        if self._stale:
            norms: Tensor = torch.linalg.vector_norm(self.grads, dim=1, dtype=torch.float64)
        elif self._triton:
            norms = self._norms[:, : self._width].sum(1).sqrt_()
        else:
            norms = torch.linalg.vector_norm(self._norms[:, : self._width], dim=1, dtype=torch.float64)
        return norms

    @torch.no_grad()
    def clip_and_sum(
        self,
        clip_norm: float,
        segments: Tensor | None = None,
        scale: float | None = None,
        num_segments: int | None = None,
        noise: GaussianNoise | None = None,
    ) -> ClipSum:
        """As `kernels.clip_and_sum_counted`, of everything added so far; parameters never added count as zero."""
        check_arguments(self.batch, None, clip_norm, segments, scale, noise)
        for index in range(len(self.shapes)):
            if index not in self.written:
                self._tile(index).zero_()
        if self._triton:
            from kernels.gpu.clip_sum_launch import clip_and_sum_launch

            squares = self.norms().square_()[:, None] if self._stale else self._norms[:, : self._width]
            return clip_and_sum_launch(self.grads, squares, clip_norm, segments, scale, num_segments, noise)
        tile = (0, self.grads)
        return clip_and_sum_tiles(
            lambda: [tile], self.length, self.dtype, self.norms(), clip_norm, segments, scale, num_segments, noise
        )

    def clear(self) -> None:
        """Forget all gradients; the memory is kept for the next batch of the same size."""
        self.written.clear()
        self._owner.clear()
        self._columns.clear()
        self._width = 0
        self._stale = False

    def _size(self, index: int) -> int:
        return math.prod(self.shapes[index])

    def _tile(self, index: int, size: int | None = None) -> Tensor:
        start = self.offsets[index]
        return self.grads[:, start : start + (size or self._size(index))]

    def _write(self, index: int, grad: Tensor) -> None:
        tile = self._tile(index).view(self.batch, *grad.shape[1:])
        if index in self.written:
            tile.add_(grad)  # a module that runs twice in one forward pass contributes twice
        else:
            tile.copy_(grad)
            self.written.add(index)

    def _norm(self, indices: tuple[int, ...]) -> None:
        # Right after the write, while the tile is in cache, of the stored values. Short blocks, because long float32
        # reductions err by up to 1e-3 relative, and an error in the norm is an error in the sensitivity.
        size = sum(self._size(index) for index in indices)
        tile = self._tile(indices[0], size)
        if self._triton:
            column = self._norms[:, self._claim(indices, 1).start]
            torch.linalg.vector_norm(tile, dim=1, dtype=torch.float64, out=column).square_()
            return
        blocks, rest = divmod(size, _BLOCK)
        columns = self._norms[:, self._claim(indices, blocks + (rest > 0))]
        if blocks:
            whole = tile[:, : blocks * _BLOCK].view(self.batch, blocks, _BLOCK)
            torch.linalg.vector_norm(whole, dim=2, out=columns[:, :blocks])
        if rest:
            torch.linalg.vector_norm(tile[:, -rest:], dim=1, out=columns[:, blocks])

    def _claim(self, indices: tuple[int, ...], width: int) -> slice:
        """The columns for the norms of these parameters' tiles, the same ones when they are written again."""
        for index in indices:
            # A parameter shared between two different pairs would be counted by both: norms are then taken anew.
            self._stale |= self._owner.setdefault(index, indices) != indices
        if indices not in self._columns:
            self._columns[indices] = slice(self._width, self._width + width)
            self._width += width
            if self._width > self._norms.shape[1]:
                grown = self._norms.new_zeros(self.batch, 2 * self._width)
                grown[:, : self._norms.shape[1]] = self._norms
                self._norms = grown
        return self._columns[indices]

    def _launch_pair(
        self,
        a: int | None,
        b: int | None,
        indices: tuple[int, ...],
        x: Tensor,
        u: Tensor,
        h: Tensor,
        g: Tensor,
        scaling: float,
    ) -> None:
        from kernels.gpu.lora_grad import lora_grads, norm_tiles
        from kernels.launch_table import architecture

        arch = architecture(self.grads.device)
        rank = u.shape[-1]
        width = norm_tiles(x.shape[-1], g.shape[-1], rank, arch, a is not None, b is not None)
        columns = self._claim(indices, width)
        again = any(index in self.written for index in indices)
        if again:
            for index in indices:
                if index not in self.written:
                    self._tile(index).zero_()
        grad_a = None if a is None else self._tile(a).view(self.batch, rank, x.shape[-1])
        grad_b = None if b is None else self._tile(b).view(self.batch, g.shape[-1], rank)
        u, h = u.to(g.dtype), (scaling * h).to(g.dtype)
        lora_grads(x.to(g.dtype), u, h, g, grad_a, grad_b, self._norms[:, columns], again)
        self.written.update(indices)


def parameter_offsets(shapes: Sequence[tuple[int, ...]]) -> tuple[list[int], int]:
    """First column of every parameter in the flat vector, and its length p."""
    offsets, end = [], 0
    for shape in shapes:
        offsets.append(end)
        end += math.prod(shape)
    return offsets, end
