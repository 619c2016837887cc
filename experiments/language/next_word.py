"""Scores of next-word prediction: whole words, tokens, a keyboard's three suggestions, perplexity.

Takes a model and sequences of public or test users; gives numbers. It must never see a private client's sequences.

Defined as in TensorFlow Federated's Stack Overflow task (accuracy without padding and end-of-sentence; Reddi et al.
2021, "Adaptive Federated Optimization", appendix C), carried over to subwords:

* next-word accuracy: a word counts if greedy decoding from the true text before it would write exactly it, every token
  right and no letter after it. A model that is sure of punctuation instead is wrong.
* top-3 accuracy: a word counts if it is among the three that a keyboard would show: the three likeliest first tokens
  of a word (with or without a space, which the user has typed), each completed greedily.
* token accuracy and perplexity over all tokens but the first, which only marks the beginning.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from experiments.language.vocabulary import Vocabulary

__all__ = ["NextWordScorer", "WordCounts"]

_SHOWN = 3


@dataclass(frozen=True)
class WordCounts:
    """Sums over sequences, from which the scores follow."""

    words: int = 0
    right: int = 0
    shown: int = 0
    tokens: int = 0
    tokens_right: int = 0
    loss: float = 0.0

    def __add__(self, other: WordCounts) -> WordCounts:
        return WordCounts(
            self.words + other.words,
            self.right + other.right,
            self.shown + other.shown,
            self.tokens + other.tokens,
            self.tokens_right + other.tokens_right,
            self.loss + other.loss,
        )

    def scores(self) -> dict[str, float]:
        """`accuracy` (next word), `top3_accuracy`, `token_accuracy`, `perplexity`, `test_loss` (nats a token)."""
        words, tokens = max(1, self.words), max(1, self.tokens)
        loss = self.loss / tokens
        return {
            "accuracy": self.right / words,
            "top3_accuracy": self.shown / words,
            "token_accuracy": self.tokens_right / tokens,
            "perplexity": math.exp(min(loss, 700.0)),
            "test_loss": loss,
        }


class NextWordScorer:
    """Counts for batches of sequences.

    Args:
        vocabulary: which tokens make words.
        device: where the model's outputs are.
    """

    def __init__(self, vocabulary: Vocabulary, device: torch.device | str = "cpu") -> None:
        self._starts = torch.from_numpy(vocabulary.starts_word).to(device)
        self._continues = torch.from_numpy(vocabulary.continues_word).to(device)

    @torch.no_grad()
    def counts(self, logits: Tensor, labels: Tensor) -> WordCounts:
        """Counts of one batch.

        Args:
            logits: `[b, t, v]` after each token.
            labels: int64 `[b, t]`, the tokens, -100 in the padding; the first only marks the beginning.
        """
        size = len(self._starts)
        logits = logits[..., :size]  # a head may be wider than its tokenizer
        targets, valid = labels[:, 1:].clamp(min=0), labels[:, 1:] >= 0
        greedy = logits.argmax(-1)
        right = (greedy[:, :-1] == targets) & valid
        loss = F.cross_entropy(
            logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten(), ignore_index=-100, reduction="sum"
        )
        spaced = self._starts[targets] & valid
        joined = self._continues[targets] & valid
        member = spaced | joined
        before = F.pad(member, (1, 0))[:, :-1]
        start = spaced | (joined & ~before)
        last = member & ~F.pad(joined & ~start, (0, 1))[:, 1:]
        # The token that greedy decoding would write after the word's last one must not go on with the word.
        runs_on = last & self._continues[greedy[:, 1:]]
        number = start.flatten().cumsum(0) - 1
        words = int(start.sum())
        wrong, rest_wrong = (
            torch.zeros(words, dtype=torch.bool, device=labels.device).index_put_(
                (number[bad.flatten()],), torch.ones((), dtype=torch.bool, device=labels.device)
            )
            for bad in ((member & ~right) | runs_on, (member & ~start & ~right) | runs_on)
        )
        return WordCounts(
            words=words,
            right=words - int(wrong.sum()),
            shown=int((self._among_shown(logits[:, :-1][start], targets[start], spaced[start]) & ~rest_wrong).sum()),
            tokens=int(valid.sum()),
            tokens_right=int(right.sum()),
            loss=float(loss),
        )

    def _among_shown(self, logits: Tensor, targets: Tensor, spaced: Tensor) -> Tensor:
        """Whether fewer than three first tokens of the same kind are likelier than the true one, bool `[w]`."""
        own = logits.gather(1, targets[:, None])
        likelier = logits > own
        after_space = (likelier & self._starts).sum(1)
        without = (likelier & self._continues).sum(1)
        return torch.where(spaced, after_space, without) < _SHOWN


def score(
    scorer: NextWordScorer, logits_of: Callable[[Any], Tensor], batches: Iterable[tuple[Any, Tensor]]
) -> dict[str, float]:
    """Scores over batches of (inputs, labels `[b, t]`)."""
    total = WordCounts()
    for inputs, labels in batches:
        total = total + scorer.counts(logits_of(inputs), labels)
    return total.scores()
