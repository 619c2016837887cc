"""Many clients' adapters over one frozen base: a block in which a model's LoRA layers use each client's own.

Takes a model and its adapter's parameters stacked over clients; rows of a batch are client-major, equally many for each
client. The model's own adapter is not used and not changed. It must never let one client's rows meet another's adapter:
a layer whose rows it cannot tell apart is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from fl_core.adapters import adapter_parts
from fl_core.gradients.lora_layers import LoraSite, adapter_parameters, patched_lora
from kernels.lora_cohort import cohort_conv2d, cohort_embedding, cohort_linear
from secagg.errors import SottoError

__all__ = ["MovingStack", "flat_stack", "stack_of", "stacked_lora"]


def stack_of(model: nn.Module, theta: Tensor, clients: int) -> list[Tensor]:
    """The adapter `theta [p]` once for each client: `[clients, *shape]` for every trainable parameter, in order.

    Raises:
        SottoError: if a trainable parameter is no LoRA layer's.
        ValueError: if the length differs or a value is not finite.
    """
    parameters = [parameter for _, parameter in adapter_parameters(model)]
    return [
        part.to(parameter.device, parameter.dtype).expand(clients, *parameter.shape).clone()
        for parameter, part in zip(parameters, adapter_parts(model, theta), strict=True)
    ]


def flat_stack(stack: Sequence[Tensor]) -> Tensor:
    """A stack as flat vectors, float32 `[clients, p]` on the CPU."""
    return torch.cat([values.detach().flatten(1).to("cpu", torch.float32) for values in stack], 1)


class MovingStack:
    """Clients' adapters on their ways from one start, held as the distances that they have gone.

    Args:
        model: model with a LoRA adapter.
        theta: where all start `[p]`.
        clients: how many.

    Raises:
        SottoError, ValueError: as `stack_of`.
    """

    def __init__(self, model: nn.Module, theta: Tensor, clients: int) -> None:
        self._start = stack_of(model, theta, 1)
        wide = torch.float64 if any(values.dtype == torch.float64 for values in self._start) else torch.float32
        self._moved = torch.zeros(clients, len(theta), dtype=wide, device=self._start[0].device)
        sizes = [values.numel() for values in self._start]
        parts = zip(torch.split(self._moved, sizes, 1), self._start, strict=True)
        # Views, so that what steps write is one vector a client from the beginning.
        self._parts = [part.view(clients, *values.shape[1:]) for part, values in parts]

    def adapters(self, clients: Sequence[int]) -> list[Tensor]:
        """Where these clients are: `[g, *shape]` for every trainable parameter, in order; fresh memory."""
        rows = _rows(clients, self._moved.device)
        return [
            torch.sub(values, part[rows]).to(values.dtype)
            for values, part in zip(self._start, self._parts, strict=True)
        ]

    def step(self, clients: Sequence[int], grads: Sequence[Tensor], learning_rate: float) -> None:
        """Move these clients against `grads`, as `adapters` gives the shapes."""
        rows = _rows(clients, self._moved.device)
        for part, grad in zip(self._parts, grads, strict=True):
            if isinstance(rows, slice):
                part[rows].add_(grad, alpha=learning_rate)
            else:
                part.index_add_(0, rows, grad.to(part.dtype), alpha=learning_rate)

    def moved(self) -> Tensor:
        """Start minus present place of each client, float32 `[clients, p]` on the CPU."""
        return self._moved.to("cpu", torch.float32)


def _rows(clients: Sequence[int], device: torch.device) -> slice | Tensor:
    """The clients as an index, of neighbours as a slice, which copies nothing."""
    first, last = clients[0], clients[-1]
    if list(clients) == list(range(first, last + 1)):
        return slice(first, last + 1)
    return torch.tensor(clients, device=device)


@contextmanager
def stacked_lora(model: nn.Module, stack: Sequence[Tensor], rows: int) -> Iterator[None]:
    """Within the block row j of a batch goes through the adapter of client `j // (rows / clients)`.

    Args:
        model: model with a LoRA adapter.
        stack: as `stack_of` gives it; gradients reach its tensors.
        rows: of a batch, a multiple of the clients.

    Raises:
        SottoError: as `adapter_parameters`; in the block, if a layer's input does not keep the rows first.
    """
    stacked = {id(parameter): values for (_, parameter), values in zip(adapter_parameters(model), stack, strict=True)}
    clients = len(stack[0])

    def of(parameter: nn.Parameter) -> Tensor:
        # A frozen A or B is everybody's.
        return stacked[id(parameter)] if parameter.requires_grad else parameter.expand(clients, *parameter.shape)

    def forward_of(site: LoraSite) -> Callable[[Tensor], Tensor]:
        return lambda x: _run(site, _by_row(site, x, rows), of(site.a), of(site.b))

    with patched_lora(model, forward_of):
        yield


def _run(site: LoraSite, x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    y = site.module.get_base_layer()(x)
    if site.kind == "embedding":
        return cohort_embedding(y, x, a, b, site.scaling)
    if site.kind == "conv2d":
        return cohort_conv2d(y, site.entering(x), a, b, site.scaling, site.geometry, site.groups)
    return cohort_linear(y, site.entering(x.to(a.dtype)), a, b, site.scaling)


def _by_row(site: LoraSite, x: Tensor, rows: int) -> Tensor:
    """The input with its rows first: `[rows, ...]`, or rows of all samples in order `[rows t, d]` (OPT flattens so).

    One input for all rows, `[1, ...]` (positions, say), is repeated: clients' adapters make different things of it.
    """
    if x.shape[0] == rows or (site.kind == "linear" and x.dim() == 2 and x.shape[0] > 1 and x.shape[0] % rows == 0):
        return x
    if x.shape[0] == 1:
        return x.expand(rows, *x.shape[1:])
    raise SottoError(
        f"LoRA layer {site.name} sees {x.shape[0]} rows for {rows} samples; its inputs must keep the batch first"
    )
