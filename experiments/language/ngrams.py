"""Unigram and bigram models over the same tokens: what a base must beat to be called a language model.

Takes token streams; gives perplexities. The bigram is interpolated Kneser-Ney (Kneser, Ney 1995; Chen, Goodman 1999,
equation 16 with n = 2), the strongest simple smoothing, so that it is no straw man.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["bigram_perplexity", "unigram_perplexity"]

_DISCOUNT = 0.75


def unigram_perplexity(train: NDArray[np.int32], test: NDArray[np.int32], vocabulary: int) -> float:
    """Perplexity of `test [m]` under add-one frequencies of `train [n]`; the first token is not scored."""
    counts = np.bincount(train, minlength=vocabulary) + 1.0
    return float(np.exp(-np.log(counts / counts.sum())[test[1:]].mean()))


def bigram_perplexity(train: NDArray[np.int32], test: NDArray[np.int32], vocabulary: int) -> float:
    """Perplexity of `test [m]`, each token given the one before it, under interpolated Kneser-Ney of `train [n]`.

    P(w | v) = max(c(vw) - D, 0) / c(v.) + D N(v.) / c(v.) * Pc(w), with Pc(w) in proportion to the number of different
    tokens seen before w (add-one, so that no token is impossible).
    """
    pairs, counts = np.unique(_pairs(train, vocabulary), return_counts=True)
    before, after = pairs // vocabulary, pairs % vocabulary
    followers = np.bincount(before, minlength=vocabulary)
    seen = np.bincount(before, weights=counts, minlength=vocabulary)
    continuation = np.bincount(after, minlength=vocabulary) + 1.0
    continuation /= continuation.sum()

    wanted = _pairs(test, vocabulary)
    place = np.minimum(np.searchsorted(pairs, wanted), len(pairs) - 1)
    count = np.where(pairs[place] == wanted, counts[place], 0)
    context, word = wanted // vocabulary, wanted % vocabulary
    total = seen[context]
    known = np.maximum(total, 1)
    weight = np.where(total > 0, _DISCOUNT * followers[context] / known, 1.0)
    probability = np.maximum(count - _DISCOUNT, 0) / known + weight * continuation[word]
    return float(np.exp(-np.log(probability).mean()))


def _pairs(stream: NDArray[np.int32], vocabulary: int) -> NDArray[np.int64]:
    return stream[:-1].astype(np.int64) * vocabulary + stream[1:]
