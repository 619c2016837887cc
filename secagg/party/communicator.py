"""CrypTen's communicator on our own mesh: mutual TLS instead of gloo, which has neither keys nor encryption.

`use_mesh` puts it where CrypTen looks for one; nothing else of CrypTen is touched. `crypten.init` is never called, so
its pseudo-random generators (64-bit seeds, sent in the clear) do not exist, and any operation that would draw a share
from them fails instead. It must never be given secrets: what it sends, the other parties read.

Ours and not independently reviewed.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributed import ReduceOp

from secagg.party.crypten_import import import_crypten
from secagg.party.mesh import Mesh, MeshBroken

__all__ = ["MeshCommunicator", "use_mesh"]

_crypten: Any = import_crypten()
_current = threading.local()


class MeshCommunicator(_crypten.communicator.Communicator):  # type: ignore[misc]
    """The operations that opening and multiplying need; CrypTen's other ones raise NotImplementedError.

    Args:
        mesh: the parties of the round.
    """

    BYTES_PER_ELEMENT = 8

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self.reset_communication_stats()

    @classmethod
    def is_initialized(cls) -> bool:
        """Whether this thread has a mesh."""
        return getattr(_current, "communicator", None) is not None

    @classmethod
    def get(cls) -> MeshCommunicator:
        """The communicator of this thread's mesh."""
        found: MeshCommunicator = _current.communicator
        return found

    def get_world_size(self) -> int:
        """How many parties there are."""
        return self._mesh.parties

    def get_rank(self) -> int:
        """This party's rank."""
        return self._mesh.rank

    def all_gather(self, tensor: Tensor, async_op: bool = False) -> list[Tensor]:
        """Every party's tensor, by rank; all have the shape and type of this party's.

        Raises:
            MeshBroken: if a party is gone or sends a tensor of another shape or type.
        """
        own = tensor.contiguous()
        facts = {"shape": list(own.shape), "type": str(own.dtype)}
        flat = memoryview(own.numpy().reshape(-1).view(np.uint8).data)
        answers = self._mesh.exchange("tensor", facts, flat)
        gathered = []
        for rank in range(self._mesh.parties):
            if rank == self._mesh.rank:
                gathered.append(own)
                continue
            frame = answers[rank]
            if frame.facts != facts or len(frame.payload) != len(flat):
                raise MeshBroken(f"party {rank} sent a tensor of another shape or type")
            gathered.append(_tensor(frame.payload, own))
        self._log_communication(2 * (self._mesh.parties - 1) * own.nelement())
        return gathered

    def all_reduce(
        self, tensor: Tensor | Sequence[Tensor], op: Any = ReduceOp.SUM, async_op: bool = False, batched: bool = False
    ) -> Any:
        """The sum (or XOR) of all parties' tensors, the same at every party; of several tensors in one exchange."""
        if batched:
            parts = list(tensor)
            joined = self.all_reduce(torch.cat([part.reshape(-1) for part in parts]), op)
            pieces = torch.split(joined, [part.nelement() for part in parts])
            return [piece.reshape(part.shape) for piece, part in zip(pieces, parts, strict=True)]
        if not isinstance(tensor, Tensor) or op not in (ReduceOp.SUM, ReduceOp.BXOR):
            raise NotImplementedError(f"all_reduce of {type(tensor).__name__} with {op}")
        parts = self.all_gather(tensor)
        total = parts[0].clone()
        for part in parts[1:]:
            if op == ReduceOp.SUM:
                total += part
            else:
                total ^= part
        return total


def use_mesh(mesh: Mesh | None) -> Any:
    """Make `mesh` what CrypTen communicates on in this thread (None: nothing); returns the `crypten` module."""
    # `crypten.communicator.get` chooses its class by this name, its only place of choice.
    _crypten.communicator.DistributedCommunicator = MeshCommunicator
    _current.communicator = None if mesh is None else MeshCommunicator(mesh)
    return _crypten


def _tensor(payload: bytes | bytearray | memoryview, like: Tensor) -> Tensor:
    if not len(payload):
        return torch.empty_like(like)
    return torch.frombuffer(payload, dtype=like.dtype).reshape(like.shape)
