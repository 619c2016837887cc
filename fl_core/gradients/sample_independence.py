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
# A gradient so much smaller than others is mostly rounding: a saturated softmax leaves 1 - p, of which float32 knows
# multiples of 6e-8 only. Of so many samples the largest is taken for comparison, and another is tried.
_FAINT = 1e-3
_LOOKED_AT = 16


def refuse_mixing(model: nn.Module, inputs: Any, first_gradient: Callable[[Any], Tensor]) -> None:
    """Refuse a loss or layer through which one sample changes another's gradient.

    Rounding alone can move a sample across a kink (of a ReLU, of a maximum) and change its gradient a little, but
    hardly that of three samples in a row; what mixes samples changes them all. Samples whose gradient has vanished
    beside that of others say nothing and are passed over; if all have, nothing is refused.

    Args:
        model: its parameters' dtype decides what counts as rounding.
        inputs: a batch of at least two samples.
        first_gradient: gives the gradient `[p]` of a batch's first sample, unclipped.

    Raises:
        SottoError: if a gradient changes by more than rounding explains.
    """
    allowed = _SAME.get(next(model.parameters()).dtype, _SAME_LOW_PRECISION)
    looked_at = min(_LOOKED_AT, batch_size(inputs))
    change, pairs, faint = 0.0, 0, None

    def gradient(start: int, size: int) -> Tensor:
        with evaluation_mode(model):  # dropout would differ between two runs
            return first_gradient(rows_of(inputs, start, start + size))

    for start in range(looked_at - 1):
        alone, beside = gradient(start, 1), gradient(start, 2)
        found = _relative_distance(alone, beside)
        if found <= allowed:
            return
        if faint is None:
            faint = _FAINT * max(_norm(gradient(other, 1)) for other in range(looked_at))
        if _norm(alone) < faint:
            continue
        change, pairs = found, pairs + 1
        if change > _BEYOND_KINKS * allowed or pairs == _PAIRS:
            break
    if not pairs:
        return
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
    gap = _norm(one - two)
    return gap / max(_norm(one), _norm(two)) if gap else 0.0


def _norm(gradient: Tensor) -> float:
    return float(torch.linalg.vector_norm(gradient))
