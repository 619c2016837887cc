"""The loss of a causal language model, one per sequence, with or without its logits ever existing.

`CausalLmLoss()` is a loss for `PrivateGradient`; run by `of_model` it takes the hidden states before the output head
and works through the vocabulary in chunks (`kernels.linear_cross_entropy`). A model whose logits are not simply the
head applied to those states is found out on a tiny input and computed the ordinary way. It never averages over a
batch's tokens: that would mix samples.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fl_core.batches import forward
from fl_core.evaluation_mode import evaluation_mode
from kernels.linear_cross_entropy import linear_cross_entropy
from secagg.errors import SottoError

__all__ = ["CausalLmLoss"]

_IGNORED = -100
# Whether a model's logits are its head applied to the states before it.
_plain_heads: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


@dataclass(frozen=True)
class CausalLmLoss:
    """Next-token cross-entropy of each sequence.

    Inputs are a mapping with `input_ids [b, t]`, optionally `attention_mask [b, t]` and `labels [b, t]` (-100 is
    ignored; default: the ids where the mask is 1). Labels are shifted here and never given to the model.

    Attributes:
        reduction: "mean" over each sequence's own tokens, or "sum".
        chunk: tokens whose logits exist at a time; default by device.

    Raises:
        SottoError: for another reduction.
    """

    reduction: str = "mean"
    chunk: int | None = None

    def __post_init__(self) -> None:
        if self.reduction not in ("mean", "sum"):
            raise SottoError(f"CausalLmLoss: reduction is {self.reduction!r}; allowed: 'mean', 'sum'")

    def __call__(self, output: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        """Losses `[b]` from a model's output with `logits [b, t, v]`."""
        labels = _shifted_labels(inputs)
        logits = output.logits[:, :-1]
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        losses = F.cross_entropy(logits.transpose(1, 2), labels, ignore_index=_IGNORED, reduction="none").sum(1)
        return losses if self.reduction == "sum" else losses / (labels != _IGNORED).sum(1).clamp(min=1)

    def of_model(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
        """Losses `[b]` of a model on a batch, without logits where the head allows it.

        Raises:
            SottoError: if the batch has no `input_ids`, or the model no logits.
        """
        labels = _shifted_labels(inputs)
        fed = {name: value for name, value in inputs.items() if name != "labels"}
        head = _plain_head(model, fed)
        if head is None:
            return self(forward(model, fed), inputs)
        with _states_instead_of_logits(head):
            hidden = forward(model, fed).logits[:, :-1]
        return linear_cross_entropy(
            hidden, head.weight, labels, head.bias, self.reduction, ignore_index=_IGNORED, chunk=self.chunk
        )


def _shifted_labels(inputs: Mapping[str, Tensor]) -> Tensor:
    """Labels of positions 0..t-2: the next tokens."""
    if not isinstance(inputs, Mapping) or "input_ids" not in inputs:
        raise SottoError(
            "a causal language model's batch needs input_ids [b, t]; allowed beside: attention_mask, labels"
        )
    labels = inputs.get("labels")
    if labels is None:
        labels = inputs["input_ids"]
        mask = inputs.get("attention_mask")
        if mask is not None:
            labels = labels.masked_fill(mask == 0, _IGNORED)
    return labels[:, 1:]


def _plain_head(model: nn.Module, inputs: Mapping[str, Tensor]) -> nn.Linear | None:
    """The output head if it is an ordinary linear layer and all that stands between the last states and the logits."""
    finder = getattr(model, "get_output_embeddings", None)
    head = finder() if callable(finder) else None
    if type(head) is not nn.Linear or "forward" in head.__dict__ or head._forward_hooks or head._forward_pre_hooks:
        return None  # an adapter of its own, another kind, or somebody's wrapper
    if model not in _plain_heads:
        _plain_heads[model] = _head_is_all(model, head, inputs)
        if not _plain_heads[model]:
            warnings.warn(
                "this model changes its logits after the output head (soft-capping or scaling), so its loss is "
                "computed from whole logits, with the memory that takes",
                stacklevel=3,
            )
    return head if _plain_heads[model] else None


@torch.no_grad()
def _head_is_all(model: nn.Module, head: nn.Linear, inputs: Mapping[str, Tensor]) -> bool:
    few = {"input_ids": inputs["input_ids"][:1, :2]}
    with evaluation_mode(model):  # dropout would differ between the two runs
        logits = forward(model, few).logits
        with _states_instead_of_logits(head):
            states = forward(model, few).logits
    return states.shape[-1] == head.in_features and bool(torch.equal(head(states), logits))


@contextmanager
def _states_instead_of_logits(head: nn.Linear) -> Iterator[None]:
    head.forward = lambda states: states  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        del head.forward
