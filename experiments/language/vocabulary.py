"""Which tokens begin, continue or are no part of a word: what "next word" means for a subword vocabulary.

A word is a run of letters with the space before it, as GPT-2's splitting rules separate it; numbers and punctuation are
tokens but no words. Words written in other than whole Unicode letters per token count as no words.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

__all__ = ["Vocabulary"]

_SPACES = ("Ġ", "▁", " ")  # how byte-level BPE, SentencePiece and plain vocabularies write a space


@dataclass(frozen=True)
class Vocabulary:
    """Facts about every token, bool `[v]` each.

    Attributes:
        starts_word: a space and letters: always the beginning of a word.
        continues_word: letters alone: goes on with a word after one of letters, else begins one.
        ends_sentence: ends with a full stop, question or exclamation mark, or a line feed.
    """

    starts_word: NDArray[np.bool_]
    continues_word: NDArray[np.bool_]
    ends_sentence: NDArray[np.bool_]

    @property
    def is_word(self) -> NDArray[np.bool_]:
        """Whether a token belongs to words."""
        return self.starts_word | self.continues_word

    @staticmethod
    def of(tokenizer: PreTrainedTokenizerFast) -> Vocabulary:
        """Classify all tokens of a tokenizer."""
        size = len(tokenizer)
        facts = np.zeros((3, size), np.bool_)
        special = set(tokenizer.all_special_ids)
        for index, token in enumerate(tokenizer.convert_ids_to_tokens(list(range(size)))):
            if token is None or index in special:
                continue
            text = tokenizer.convert_tokens_to_string([token])
            letters = text.strip(" ").isalpha()
            facts[0, index] = letters and token.startswith(_SPACES)
            facts[1, index] = letters and not token.startswith(_SPACES)
            facts[2, index] = text.endswith((".", "?", "!", "\n"))
        return Vocabulary(facts[0], facts[1], facts[2])
