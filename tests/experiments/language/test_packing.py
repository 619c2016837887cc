"""Packing: every token is predicted exactly once, and a pass visits every block once in an order of its own."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.language.packing import blocks_of, epoch_order, token_stream
from experiments.language.tokenizer import train_bpe


@given(st.integers(0, 200), st.integers(1, 30))
def test_every_token_but_the_first_is_predicted_exactly_once(tokens, length):
    stream = np.arange(tokens, dtype=np.int32)
    blocks = blocks_of(stream, length)
    whole = max(0, tokens - 1) // length * length
    assert blocks.shape == (whole // length, length + 1)
    assert blocks[:, 1:].flatten().tolist() == list(range(1, whole + 1))
    assert blocks[:, :-1].flatten().tolist() == list(range(whole))


@given(st.integers(2, 200), st.integers(1, 30))
def test_neighbouring_blocks_share_exactly_one_token(tokens, length):
    blocks = blocks_of(np.arange(tokens, dtype=np.int32), length)
    for one, other in pairwise(blocks):
        assert set(one) & set(other) == {one[-1]} == {other[0]}


def test_blocks_are_views_that_cannot_be_written():
    stream = np.arange(9, dtype=np.int32)
    blocks = blocks_of(stream, 4)
    assert np.shares_memory(blocks, stream)
    with pytest.raises(ValueError, match="read-only"):
        blocks[0, 0] = 5


@given(st.integers(1, 100), st.integers(0, 2**63 - 1), st.integers(0, 1000))
def test_a_pass_visits_every_block_once(blocks, seed, epoch):
    assert sorted(epoch_order(blocks, seed, epoch)) == list(range(blocks))


def test_the_order_is_fixed_by_seed_and_pass():
    order = epoch_order(50, 1, 2).tolist()
    assert epoch_order(50, 1, 2).tolist() == order
    assert epoch_order(50, 1, 3).tolist() != order
    assert epoch_order(50, 2, 2).tolist() != order
    assert epoch_order(50, 2, 1).tolist() != order


def test_each_document_is_followed_by_the_end_of_text_token_in_order():
    tokenizer = train_bpe(["some words to merge"], 270)
    texts = [f"some words {number}" for number in range(600)]  # more than are encoded at once
    stream = token_stream(texts, tokenizer)
    assert stream.dtype == np.int32
    assert tokenizer.decode(stream) == "".join(text + "<|endoftext|>" for text in texts)
    assert token_stream([], tokenizer).shape == (0,)
