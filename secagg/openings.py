"""Which sums were opened, and which may not be opened after them.

Two openings of one round's attempt, or of one model over sets of clients that differ by a few, are refused: vectors
that depend on the same model are much alike, so the difference of two such sums comes close to the sum of the few.
The rule looks at pairs. It says nothing of combinations of three or more openings, of clients whose vectors are alike
under different models or runs, or of rounds that name no model: against all of these stands the noise, which is fresh
in every opening and which the ledger composes over every attempt. The rule is a second line of defence behind it.
"""

from __future__ import annotations

import hashlib
import logging
import sys
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from secagg.errors import AggregationError
from secagg.messages import RoundSpec

__all__ = ["OpeningRefused", "Openings"]

logger = logging.getLogger(__name__)

_KEPT_IDS = 2**22  # 32 MiB


class OpeningRefused(AggregationError):
    """A sum may not be opened because of what was opened before, or by this party's own rules; nothing was opened."""


@dataclass(slots=True)
class _Set:
    """The clients of an opening: their digest, and while there is room their sorted ids."""

    digest: bytes
    ids: NDArray[np.int64] | None


class Openings:
    """All openings so far.

    Names of openings and digests of their sets are kept for ever, a few hundred bytes an opening. Ids are kept of the
    newest openings only, `kept_ids` in all. A model comes back only when a run goes back to an old state; then, if the
    ids are gone, nothing but exactly the same set of clients may be opened again.

    Args:
        kept_ids: most client ids held in memory; the newest opening's are always held.
    """

    def __init__(self, kept_ids: int = _KEPT_IDS) -> None:
        self._names: set[tuple[str, int, int]] = set()
        self._models: dict[bytes, list[_Set]] = {}
        self._newest: deque[_Set] = deque()
        self._ids, self._kept_ids = 0, kept_ids

    def refuse_again(self, spec: RoundSpec) -> None:
        """Refuse a round's attempt that was opened before.

        Raises:
            OpeningRefused: with the attempt's name.
        """
        if (spec.run, spec.round, spec.attempt) in self._names:
            self._refuse(
                f"round {spec.round} attempt {spec.attempt} of run {spec.run[:8]} was opened before; "
                "a sum is opened once, use a new attempt with fresh noise and shares"
            )

    def refuse_close_sets(self, spec: RoundSpec, clients: Collection[int], min_difference: int | None = None) -> None:
        """Refuse a set of clients that differs by few from that of an earlier opening of the same run and model.

        Args:
            spec: the round; if it names no model nothing is refused.
            clients: whose sum is to be opened.
            min_difference: fewest clients that may be in one of two sets but not in the other; None: `spec.n_min`.

        Raises:
            OpeningRefused: with the difference and the fewest allowed.
        """
        earlier = self._models.get(_model_key(spec.run, spec.model), ()) if spec.model else ()
        if not earlier:
            return
        least = spec.n_min if min_difference is None else min_difference
        ids = _sorted_ids(clients)
        digest = _digest(ids)
        what = f"round {spec.round} attempt {spec.attempt} of run {spec.run[:8]}: its {len(ids)} clients"
        for opened in earlier:
            if opened.digest == digest:
                continue
            if opened.ids is None:
                self._refuse(
                    f"{what} are not those of an opening of the same model long ago; allowed: exactly the same clients"
                )
            shared = len(np.intersect1d(ids, opened.ids, assume_unique=True))
            difference = len(ids) + len(opened.ids) - 2 * shared
            if difference < least:
                self._refuse(
                    f"{what} differ by {difference} from those of an earlier opening of the same model; "
                    f"allowed: the same clients, or a difference of at least {least}"
                )

    def remember(self, spec: RoundSpec, clients: Collection[int]) -> None:
        """Note an opening; called before it happens."""
        self.recall(spec.run, spec.round, spec.attempt, spec.model, clients)

    def recall(self, run: str, round_: int, attempt: int, model: str, clients: Collection[int]) -> None:
        """Note an opening that was written down; clients without repetition."""
        self._names.add((sys.intern(run), round_, attempt))
        if not model:
            return
        ids = _sorted_ids(clients)
        digest = _digest(ids)
        sets = self._models.setdefault(_model_key(run, model), [])
        if any(opened.digest == digest and opened.ids is not None for opened in sets):
            return
        sets[:] = [opened for opened in sets if opened.digest != digest]
        sets.append(_Set(digest, ids))
        self._newest.append(sets[-1])
        self._ids += len(ids)
        while self._ids > self._kept_ids and len(self._newest) > 1:
            oldest = self._newest.popleft()
            assert oldest.ids is not None
            self._ids -= len(oldest.ids)
            oldest.ids = None

    def _refuse(self, sentence: str) -> NoReturn:
        logger.warning("refused: %s", sentence)
        raise OpeningRefused(sentence)


def _model_key(run: str, model: str) -> bytes:
    """Run and model in 32 bytes."""
    return hashlib.sha256(f"{len(run)} {run}{model}".encode("utf-8", "surrogatepass")).digest()


def _sorted_ids(clients: Collection[int]) -> NDArray[np.int64]:
    if isinstance(clients, range) and clients:
        ids = clients[0] + clients.step * np.arange(len(clients), dtype=np.int64)
    else:
        ids = np.fromiter(clients, dtype=np.int64, count=len(clients))
    ids.sort()
    return ids


def _digest(ids: NDArray[np.int64]) -> bytes:
    return hashlib.sha256(ids.tobytes()).digest()
