"""The fine-tunings that `bench.membership` attacks, each a whole run of the product.

Takes a configuration and candidates; gives a run folder as `sotto run` leaves it. A candidate whose coin came out
against it is *zeroed out*, the adjacency of the ledger: it belongs to its client no more, while the public number of
records, and so the denominator, stays.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.membership.candidates import Candidates
from experiments import runs
from experiments.language.sequences import Sequences
from experiments.progress import RunProgress
from experiments.tasks import build_task
from fl_core.config import RunConfig
from fl_core.config_file import first_difference, to_dict
from fl_core.storage import write_atomically
from fl_core.task import FederatedTask
from secagg.errors import SottoError

__all__ = ["train"]


@dataclass(frozen=True)
class _ZeroedOut(FederatedTask):
    """A task some of whose records are zero: they are in no batch and still count.

    Attributes:
        candidates: all records, whatever their coins.
    """

    candidates: int = 0

    @property
    def records(self) -> int:
        """All candidates: the denominator tells nothing of the coins."""
        return self.candidates


def train(
    config: RunConfig, sequences: Sequences, candidates: Candidates, folder: Path, progress: RunProgress
) -> dict[str, Any]:
    """The run in `folder`: its summary if it has ended, else what is left of it, or all.

    Raises:
        SottoError: as `experiments.runs.execute`; if the folder holds a run of another design.
    """
    _refuse_other_design(candidates, folder)
    if (folder / "summary.json").exists():
        found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
        difference = first_difference(to_dict(config), found["config"])
        if difference is not None:
            raise SottoError(f"{folder} holds a run with another {difference[0]}; choose another --out")
        return found
    begun = (folder / "config.yaml").exists()
    with _only(sequences, candidates):
        return runs.execute(config, folder, begun, False, progress)


def _refuse_other_design(candidates: Candidates, folder: Path) -> None:
    """Refuse a folder whose run has other candidates or coins, which its configuration does not tell."""
    state = hashlib.sha256()
    for part in (candidates.rows, candidates.inside, candidates.ids):
        state.update(np.ascontiguousarray(part).tobytes())
    path = folder.with_name(f"{folder.name}.candidates.json")  # beside it: a run begins in a folder of its own
    if not path.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps({"sha256": state.hexdigest()}).encode())
    elif json.loads(path.read_text())["sha256"] != state.hexdigest():
        raise SottoError(f"{folder} holds a run with other candidates or coins; choose another --out")


@contextmanager
def _only(sequences: Sequences, candidates: Candidates) -> Iterator[None]:
    """Let `runs.execute` train on the candidates whose coins say so, a user of them a client."""
    everyone = len(np.unique(sequences.users))

    def build(config: RunConfig, on_progress: Callable[[str], None] = lambda _: None) -> FederatedTask:
        whole = replace(config, federation=replace(config.federation, clients=everyone, n_min=None))
        task = build_task(whole, on_progress)
        inside = [
            candidates.rows[(candidates.users == user) & candidates.inside] for user in range(config.federation.clients)
        ]
        kept = {field.name: getattr(task, field.name) for field in fields(task)}
        kept |= {"clients": tuple(inside), "evaluate_whole": None, "candidates": len(candidates.rows)}
        return _ZeroedOut(**kept)

    before = runs.build_task
    runs.build_task = build
    try:
        yield
    finally:
        runs.build_task = before
