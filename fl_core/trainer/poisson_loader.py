"""Batches by secret coins: in each step every record takes part with the same probability, by itself.

Takes a data set and a collator; gives, for each step, a list of collated micro-batches, which may be empty. Sampling
amplifies privacy only if it is this one: a shuffled order, or batches of a fixed size, would be accounted wrongly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from fl_core.sampling import poisson_sample
from secagg.randomness import Keystream

__all__ = ["PoissonLoader"]


class PoissonLoader:
    """What a Trainer takes for its data loader.

    Args:
        dataset: records by index.
        collate: a list of records to a batch.
        sample_rate: probability of each record in each step.
        microbatch: most records that go through the model at a time.
        steps: batches that one pass gives, by custom one epoch's.
    """

    def __init__(
        self,
        dataset: Any,
        collate: Callable[[list[Any]], Any],
        sample_rate: float,
        microbatch: int,
        steps: int,
    ) -> None:
        self.dataset = dataset
        self.batch_size = microbatch
        self.sample_rate = sample_rate
        self._collate = collate
        self._steps = steps
        self._coins = Keystream.system()
        self._drawn = 0

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[list[Any]]:
        records = np.arange(len(self.dataset))
        for _ in range(self._steps):
            self._drawn += 1  # coins are never flipped twice from one stream, whatever epoch it is
            yield self._collated(poisson_sample(records, self.sample_rate, self._coins.child(self._drawn)).tolist())

    def _collated(self, chosen: Sequence[int]) -> list[Any]:
        size = self.batch_size
        parts = [chosen[start : start + size] for start in range(0, len(chosen), size)]
        return [self._collate([self.dataset[index] for index in part]) for part in parts]
