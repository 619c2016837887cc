"""Batches name sequences by their numbers, whatever the order in which states are kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from experiments.language.sequences import Sequences
from experiments.tasks.stored_sequences import StoredSequences
from fl_core.frozen_prefix import PREFIX_STATES


class States:
    """Keeps each sequence's first token as its state, and what was asked for."""

    def of(self, ids):
        self.kept = ids
        return self

    def take(self, numbers):
        self.asked = numbers
        return self.kept[torch.from_numpy(numbers), :1].float()


def stored(rows):
    ids = np.arange(36, dtype=np.int32).reshape(12, 3)
    sequences = Sequences(ids, np.full(12, 2), np.array([0, 1, 2] * 4))
    states = States()
    return sequences, StoredSequences(sequences, np.array(rows), states, torch.device("cpu")), states


def test_a_batch_has_the_tokens_labels_and_states_of_the_sequences_that_were_named():
    sequences, made, states = stored([0, 1, 2, 3, 4, 6, 7, 10, 11])
    records = np.array([10, 0, 7, 7])
    inputs = made.batch(records)
    assert (inputs["input_ids"].numpy() == sequences.ids[records]).all()
    assert (inputs["labels"].numpy() == sequences.labels()[records]).all()
    assert (inputs[PREFIX_STATES].numpy() == sequences.ids[records, :1]).all()
    assert len(states.kept) == 9


def test_states_of_a_user_are_one_slice():
    sequences, made, states = stored(range(12))
    for user in range(3):
        made.batch(np.flatnonzero(sequences.users == user))
        assert (np.diff(states.asked) == 1).all()


def test_a_sequence_that_is_not_stored_is_an_error():
    _, made, _ = stored([0, 1, 2])
    with pytest.raises(IndexError):
        made.batch(np.array([1, 5]))
