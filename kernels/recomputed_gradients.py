"""Per-sample gradients without the flat buffer: made twice, once for their norms and once for the clipped sum.

For batches whose `[b, p]` buffer would not fit. It keeps what the layers saw and the gradients at their outputs until
the sum is taken, and one tile at a time. Same methods and same results as `kernels.gradient_buffer`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from kernels.clip_sum import ClipSum, GaussianNoise, check_arguments, clip_and_sum_tiles
from kernels.gradient_buffer import parameter_offsets
from kernels.lora_grad import lora_pair_grads

__all__ = ["RecomputedGradients"]


class RecomputedGradients:
    """Per-sample gradients that are recomputed instead of stored; arguments as `GradientBuffer`."""

    def __init__(
        self,
        shapes: Sequence[tuple[int, ...]],
        batch: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        self.batch = batch
        self.dtype = dtype
        self.device = torch.device(device)
        self.offsets, self.length = parameter_offsets(shapes)
        self._norms = torch.zeros(batch, len(self.offsets), dtype=torch.float64, device=device)
        self._makers: dict[int, list[Callable[[], Tensor]]] = {}

    @property
    def written(self) -> set[int]:
        """Indices of the parameters that have a gradient."""
        return set(self._makers)

    @torch.no_grad()
    def add_pair(
        self, a: int | None, b: int | None, x: Tensor, u: Tensor, h: Tensor, g: Tensor, scaling: float
    ) -> None:
        """As `GradientBuffer.add_pair`; the tensors are kept until the sum is taken."""

        def make(position: int) -> Tensor:
            grad = lora_pair_grads(x, u, h, g, scaling, self.dtype, position == 0, position == 1)[position]
            assert grad is not None
            return grad

        if a is not None:
            self.add(a, lambda: make(0))
        if b is not None:
            self.add(b, lambda: make(1))

    @torch.no_grad()
    def add(self, index: int, make: Callable[[], Tensor]) -> None:
        """As `GradientBuffer.add`; `make` is kept and called again."""
        self._makers.setdefault(index, []).append(make)
        torch.linalg.vector_norm(self._tile(index), dim=1, dtype=torch.float64, out=self._norms[:, index])

    @torch.no_grad()
    def norms(self) -> Tensor:
        """L2 norm of every sample's gradient, float64 `[b]`."""
        norms: Tensor = torch.linalg.vector_norm(self._norms, dim=1)
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
        """As `GradientBuffer.clip_and_sum`."""
        check_arguments(self.batch, None, clip_norm, segments, scale, noise)

        def tiles() -> Iterator[tuple[int, Tensor]]:
            for index in sorted(self._makers):
                yield self.offsets[index], self._tile(index)

        return clip_and_sum_tiles(
            tiles, self.length, self.dtype, self.norms(), clip_norm, segments, scale, num_segments, noise
        )

    def clear(self) -> None:
        """Forget everything and free what was kept."""
        self._makers.clear()
        self._norms.zero_()

    def _tile(self, index: int) -> Tensor:
        makers = self._makers[index]
        grad = makers[0]()
        for make in makers[1:]:  # a module that runs twice in one forward pass contributes twice
            grad = grad + make()
        return grad.flatten(1)
