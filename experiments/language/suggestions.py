"""The three words that a keyboard would show next, by the same rule that `next_word` scores as top-3 accuracy."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from experiments.language.vocabulary import Vocabulary

__all__ = ["Suggestion", "suggest"]

_LONGEST = 12  # tokens of a word


@dataclass(frozen=True)
class Suggestion:
    """A word and the probability that greedy completion of its first token gives it."""

    word: str
    probability: float


@torch.no_grad()
def suggest(
    model: nn.Module, tokenizer: PreTrainedTokenizerFast, text: str, count: int = 3, positions: int = 1024
) -> list[Suggestion]:
    """The `count` likeliest next words after `text`, likeliest first token first.

    A word after a text begins with a space, whether the text ends with one or not; one after no text may do without.
    Each of the likeliest first tokens is completed greedily while the model goes on with letters.

    Args:
        model: causal language model in evaluation mode.
        tokenizer: of the model.
        text: what was typed so far; may be empty.
        count: how many words.
        positions: the model's longest input; older text is left out.
    """
    vocabulary = Vocabulary.of(tokenizer)
    ids = [tokenizer.eos_token_id, *tokenizer.encode(text.rstrip(" "), add_special_tokens=False)]
    longest = max(1, min(_LONGEST, positions - 1))  # tokens of a word; they too need places in the model's input
    ids = ids[-max(1, positions - longest) :]
    begins = torch.from_numpy(vocabulary.starts_word if len(ids) > 1 else vocabulary.is_word)
    continues = torch.from_numpy(vocabulary.continues_word)
    first = _next(model, ids, len(begins))
    order = first.masked_fill(~begins, -1.0).argsort(descending=True)[:count]
    return [_completed(model, tokenizer, ids, int(token), float(first[token]), continues, longest) for token in order]


def _completed(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerFast,
    ids: list[int],
    token: int,
    probability: float,
    continues: Tensor,
    longest: int,
) -> Suggestion:
    word = [token]
    while len(word) < longest:
        following = _next(model, [*ids, *word], len(continues))
        likeliest = int(following.argmax())
        if not bool(continues[likeliest]):
            break
        probability *= float(following[likeliest])
        word.append(likeliest)
    return Suggestion(tokenizer.decode(word).strip(), probability)


def _next(model: nn.Module, ids: list[int], size: int) -> Tensor:
    """Probabilities `[size]` of the token after `ids`."""
    device = next(model.parameters()).device
    logits: Tensor = model(input_ids=torch.tensor([ids], device=device)).logits[0, -1, :size]
    return logits.float().softmax(0).cpu()
