"""How much memory a forward pass keeps for its backward pass."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType

from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

__all__ = ["SavedMemory"]


class SavedMemory:
    """Within the block, counts the bytes of what autograd saves, each storage once.

    Args:
        known: tensors that are there anyway, such as weights, and do not count.
    """

    def __init__(self, known: Iterable[Tensor]) -> None:
        self._known = {tensor.untyped_storage().data_ptr() for tensor in known}
        self._seen: dict[int, Tensor] = {}
        self._hooks = saved_tensors_hooks(self._save, lambda tensor: tensor)

    @property
    def bytes(self) -> int:
        """Saved so far."""
        return sum(tensor.untyped_storage().nbytes() for tensor in self._seen.values())

    def __enter__(self) -> SavedMemory:
        self._hooks.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hooks.__exit__(kind, error, trace)
        self._seen.clear()

    def _save(self, tensor: Tensor) -> Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in self._known:
            # Kept, so that no later tensor can take its place and go uncounted.
            self._seen.setdefault(place, tensor.detach())
        return tensor.detach()
