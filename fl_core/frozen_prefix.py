"""The frozen blocks before the first adapted one, computed once per record instead of in every round.

Takes a causal language model whose adapters all sit in its list of blocks; gives the states that enter the first
adapted block, and lets the model start from them: a batch with `prefix_states [b, t, d]` skips the blocks before. What
comes out differs from a whole run by float rounding only. It must never be used with a base that changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn

from fl_core.adapters import trainable_parameters
from fl_core.batches import forward
from fl_core.evaluation_mode import evaluation_mode

__all__ = ["PREFIX_STATES", "FrozenPrefix", "frozen_prefix"]

PREFIX_STATES = "prefix_states"


class _Entered(Exception):
    """Carries the states that enter the first adapted block."""

    def __init__(self, states: Tensor) -> None:
        super().__init__()
        self.states = states


class FrozenPrefix:
    """The model's blocks with the first `skipped` ones replaced by their stored results where a batch has them.

    Args:
        model: PEFT model on an ordinary base; its forward takes `prefix_states` from now on.
        blocks: the base's list of blocks.
        skipped: how many of them are frozen.
    """

    def __init__(self, model: nn.Module, blocks: nn.ModuleList, skipped: int) -> None:
        self.skipped = skipped
        self._model, self._first = model, blocks[skipped]
        self._states: Tensor | None = None
        for block in blocks[:skipped]:
            block.forward = self._unless_stored(block.forward)
        self._first.forward = self._from_stored(self._first.forward)
        inner: Any = model.get_base_model() if isinstance(model, PeftModel) else model
        inner.forward = self._taking_states(inner.forward)

    @torch.no_grad()
    def states(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """States `[b, t, d]` that enter the first adapted block on this batch."""

        def stop(_: nn.Module, arguments: tuple[Any, ...]) -> None:
            raise _Entered(arguments[0])

        handle = self._first.register_forward_pre_hook(stop)
        try:
            with evaluation_mode(self._model):
                forward(self._model, {key: value for key, value in inputs.items() if key != PREFIX_STATES})
        except _Entered as entered:
            return entered.states.detach().clone()
        finally:
            handle.remove()
        raise AssertionError("unreachable: the forward pass enters every block")

    def _taking_states(self, run: Any) -> Any:
        def forward_with_states(*args: Any, prefix_states: Tensor | None = None, **kwargs: Any) -> Any:
            self._states = prefix_states
            try:
                return run(*args, **kwargs)
            finally:
                self._states = None

        return forward_with_states

    def _unless_stored(self, run: Any) -> Any:
        def skip(states: Tensor, *args: Any, **kwargs: Any) -> Any:
            return run(states, *args, **kwargs) if self._states is None else states

        return skip

    def _from_stored(self, run: Any) -> Any:
        def enter(states: Tensor, *args: Any, **kwargs: Any) -> Any:
            return run(states if self._states is None else self._states, *args, **kwargs)

        return enter


def frozen_prefix(model: nn.Module) -> FrozenPrefix | None:
    """Prepare `model` to start behind its frozen blocks; None where nothing could be skipped.

    That is so if an adapter sits outside the list of blocks (on embeddings, say) or in the first block, or the model
    has dropout, which would make stored states stale.
    """
    adapted = [name for name, _ in trainable_parameters(model)]
    lists = {name: module for name, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    holding = [name for name in lists if all(path.startswith(f"{name}.") for path in adapted)]
    if not adapted or not holding:
        return None
    name = min(holding, key=len)
    skipped = min(int(path.removeprefix(f"{name}.").partition(".")[0]) for path in adapted)
    blocks = lists[name]
    if skipped == 0 or _drops(model):
        return None
    return FrozenPrefix(model, blocks, skipped)


def _drops(model: nn.Module) -> bool:
    return any(isinstance(module, nn.Dropout) and module.p > 0 for module in model.modules())
