"""A round's request on its way to another process of the same simulation, which holds the clients' secrets too.

It carries the key that all randomness of the attempt follows from, so it must never go to anybody else.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fl_core.engines.message_source import RoundRequest
from secagg.randomness import Keystream
from secagg.wire import ids_of, ranges_of, spec_from_wire, spec_to_wire

__all__ = ["CohortRequest", "request_from_wire", "request_to_wire"]


@dataclass(frozen=True, repr=False)
class CohortRequest:
    """What the cohorts of one attempt at a round are asked for.

    Attributes:
        round: what all clients are told, and the stream below which everything of the attempt is drawn.
        parties: for how many a message is split.
        key_folder: where to find what messages are sealed with; None: they are not.
    """

    round: RoundRequest
    parties: int
    key_folder: Path | None


def request_to_wire(request: CohortRequest) -> tuple[dict[str, Any], bytes]:
    """Header, and the adapter in float32 as payload."""
    asked = request.round
    header = {
        "spec": spec_to_wire(asked.spec),
        "present": ranges_of(asked.present),
        "clip_norm": asked.clip_norm,
        "key": asked.stream.export_key(),
        "secure": asked.stream.secure,
        "parties": request.parties,
        "key_folder": None if request.key_folder is None else str(request.key_folder),
    }
    return header, asked.theta.to(torch.float32).contiguous().numpy().tobytes()


def request_from_wire(header: dict[str, Any], payload: memoryview) -> CohortRequest:
    """What `request_to_wire` wrote."""
    asked = RoundRequest(
        spec=spec_from_wire(header["spec"]),
        present=list(ids_of(header["present"])),
        theta=torch.from_numpy(np.frombuffer(payload, np.float32).copy()),
        clip_norm=header["clip_norm"],
        stream=Keystream.from_key(header["key"], header["secure"]),
    )
    folder = header["key_folder"]
    return CohortRequest(asked, header["parties"], None if folder is None else Path(folder))
