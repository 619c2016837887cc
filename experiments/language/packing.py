"""Documents as one stream of tokens, cut into blocks of equal length: no padding, every token is trained on.

Takes documents and a tokenizer; gives integer arrays. Blocks cross document boundaries, which the end-of-text token
marks (as GPT-2 was trained).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

__all__ = ["blocks_of", "epoch_order", "token_stream"]

_DOCUMENTS_AT_ONCE = 256


def token_stream(documents: Iterable[str], tokenizer: PreTrainedTokenizerFast) -> NDArray[np.int32]:
    """All documents' tokens in order, each document followed by the end-of-text token: int32 `[n]`."""
    end = np.array([tokenizer.eos_token_id], np.int32)
    parts: list[NDArray[np.int32]] = []
    for some in _batches(documents, _DOCUMENTS_AT_ONCE):
        for encoding in tokenizer.backend_tokenizer.encode_batch(some, add_special_tokens=False):
            parts += [np.asarray(encoding.ids, np.int32), end]
    return np.concatenate(parts) if parts else np.zeros(0, np.int32)


def blocks_of(stream: NDArray[np.int32], length: int) -> NDArray[np.int32]:
    """The stream as `[blocks, length + 1]` views: `length` inputs and, one further on, as many targets.

    Neighbouring blocks share one token, so every token but the first is predicted exactly once; the rest is dropped.
    """
    count = max(0, (len(stream) - 1) // length)
    return np.lib.stride_tricks.as_strided(
        stream, (count, length + 1), (stream.strides[0] * length, stream.strides[0]), writeable=False
    )


def epoch_order(blocks: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order of the blocks in one pass, fixed by public seed and pass."""
    return np.random.Generator(np.random.PCG64([seed, epoch])).permutation(blocks)


def _batches(documents: Iterable[str], size: int) -> Iterator[list[str]]:
    remaining = iter(documents)
    while some := list(islice(remaining, size)):
        yield some
