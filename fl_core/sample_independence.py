"""Does one sample's gradient depend on the others in its batch? Then it is no per-sample gradient, and is refused.

Compares gradients of the same sample alone and beside a neighbour. It proves nothing about layers that mix samples only
now and then, and does not replace a per-sample loss.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fl_core.batches import batch_size, rows_of
from fl_core.evaluation_mode import evaluation_mode
from secagg.errors import SottoError

__all__ = ["refuse_batch_norm", "refuse_mixing"]

# Relative change of a sample's gradient between a batch of one and a batch of two that rounding makes.
_SAME = {torch.float64: 1e-6, torch.float32: 1e-3}
_SAME_LOW_PRECISION = 5e-2
# Pairs of samples that are tried while the difference is one that rounding at a kink could have made.
_PAIRS = 3
_BEYOND_KINKS = 20


def refuse_mixing(model: nn.Module, inputs: Any, first_gradient: Callable[[Any], Tensor]) -> None:
    """Refuse a loss or layer through which one sample changes another's gradient.

    Rounding alone can move a sample across a kink (of a ReLU, of a maximum) and change its gradient a little, but
    hardly that of three samples in a row; what mixes samples changes them all.

    Args:
        model: its parameters' dtype decides what counts as rounding.
        inputs: a batch of at least two samples.
        first_gradient: gives the gradient `[p]` of a batch's first sample, unclipped.

    Raises:
        SottoError: if a gradient changes by more than rounding explains.
    """
    allowed = _SAME.get(next(model.parameters()).dtype, _SAME_LOW_PRECISION)
    change = 0.0
    for start in range(min(_PAIRS, batch_size(inputs) - 1)):
        with evaluation_mode(model):  # dropout would differ between the two runs
            alone, beside = (first_gradient(rows_of(inputs, start, start + size)) for size in (1, 2))
        change = _relative_distance(alone, beside)
        if change <= allowed:
            return
        if change > _BEYOND_KINKS * allowed:
            break
    raise SottoError(
        f"a sample's gradient changes by {change:.1%} when another joins the batch: the loss or a layer "
        f"mixes samples (an average over the batch's tokens, say); allowed: losses of one sample alone"
    )


def refuse_batch_norm(model: nn.Module) -> None:
    """Refuse layers that normalise over the batch, which `refuse_mixing` cannot see in evaluation mode.

    Raises:
        SottoError: naming the first such layer that is in training mode.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training:
            raise SottoError(
                f"layer {name} normalises over the batch, so samples influence each other; allowed: the same layer in "
                f"evaluation mode, or group or layer normalisation"
            )


def _relative_distance(one: Tensor, two: Tensor) -> float:
    gap = torch.linalg.vector_norm(one - two).item()
    size = max(torch.linalg.vector_norm(one).item(), torch.linalg.vector_norm(two).item())
    return gap / size if gap else 0.0
