"""Suggestions are words after any text, for models of any length."""

from __future__ import annotations

import pytest

from experiments.language.suggestions import suggest
from tests.experiments.language.tiny_language import model, tokenizer


@pytest.mark.parametrize("positions", [1, 2, 8, 13, 32])
@pytest.mark.parametrize("text", ["", "The value", "The value of the object is " * 10])
def test_a_model_is_given_no_more_than_it_can_read(positions, text):
    found = suggest(model(positions=positions), tokenizer(), text, 3, positions)
    assert len(found) == 3
    assert all(one.word and 0 <= one.probability <= 1 for one in found)
