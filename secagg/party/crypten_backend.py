"""The opening itself, on CrypTen: the sum of all parties' shares as raw ring values.

Shares come from us (`ArithmeticSharedTensor.from_shares`), because CrypTen's own share generator is not cryptographic,
with precision 0, so that nothing is scaled; the revealed tensor is the raw ring value, because CrypTen's decoder is
wrong for some negatives.

Ours and not independently reviewed.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from secagg.party.communicator import use_mesh
from secagg.party.mesh import Mesh

__all__ = ["open_sum"]


def open_sum(mesh: Mesh, share: NDArray[np.int64]) -> NDArray[np.int64]:
    """The sum of the shares of all parties of `mesh`, int64 `[d]` mod 2^64.

    Raises:
        MeshBroken: if a party is gone; what this party sent until then may have opened the sum to the others.
    """
    crypten = use_mesh(mesh)
    try:
        shared = crypten.mpc.primitives.ArithmeticSharedTensor.from_shares(torch.from_numpy(share), precision=0)
        opened: NDArray[np.int64] = shared.reveal().numpy()
        return opened
    finally:
        use_mesh(None)
