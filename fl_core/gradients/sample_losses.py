"""The losses of a batch, one per sample, by whichever way the loss prefers.

Takes a model, a batch and a loss; gives `[b]`. It must never let pass what is not one number per sample: a mean over
the batch cannot be taken apart into its samples' gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from fl_core.batches import batch_size, forward
from secagg.errors import SottoError

__all__ = ["LossFunction", "sample_losses"]

LossFunction = Callable[[Any, Any], Tensor]


def sample_losses(model: nn.Module, inputs: Any, loss_fn: LossFunction) -> Tensor:
    """Losses `[b]` of a batch, which depend on the adapter.

    Args:
        model: runs as it is, in whatever mode and block.
        inputs: as `fl_core.batches.forward` takes them.
        loss_fn: `loss_fn(model_output, inputs) -> [b]`; one with a method `of_model(model, inputs) -> [b]` runs the
            model itself.

    Raises:
        SottoError: if the loss is not one number per sample, or no adapter had a part in it.
    """
    batch = batch_size(inputs)
    own_run = getattr(loss_fn, "of_model", None)
    losses = loss_fn(forward(model, inputs), inputs) if own_run is None else own_run(model, inputs)
    if not isinstance(losses, Tensor) or losses.shape != (batch,):
        shape = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
        raise SottoError(
            f"loss_fn must give one loss per sample, shape ({batch},), got {shape}; a mean over the batch "
            f"or its tokens is not a per-sample loss"
        )
    if not losses.requires_grad:
        raise SottoError("the loss does not depend on the adapter: is the model under no_grad?")
    return losses
