"""Next-word scores against a slow implementation that really decodes word by word."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from experiments.language.next_word import NextWordScorer, WordCounts
from experiments.language.suggestions import suggest
from experiments.language.vocabulary import Vocabulary
from tests.experiments.language.tiny_language import model, tokenizer

VOCABULARY = Vocabulary.of(tokenizer())
LENGTH = 14


def sequences(count, seed=0):
    """Sentences of the model's own making mixed with random tokens, so that some words are predicted and some not."""
    generator = torch.Generator().manual_seed(seed)
    network = model()
    ids = torch.randint(1, len(tokenizer()), (count, LENGTH), generator=generator)
    ids[:, 0] = 0
    for place in range(1, LENGTH):
        own = network(ids[:, :place]).logits[:, -1].argmax(-1)
        keep = torch.rand(count, generator=generator) < 0.6
        ids[keep, place] = own[keep]
    labels = ids.clone()
    for row in range(count):
        end = int(torch.randint(2, LENGTH + 1, (), generator=generator))
        labels[row, end:] = -100
        ids[row, end:] = 0
    return network, ids, labels


def words_of(tokens):
    """(first, last) places of the words among tokens, the first token left out."""
    found = []
    for place in range(1, len(tokens)):
        before = place > 1 and VOCABULARY.is_word[tokens[place - 1]]
        if VOCABULARY.starts_word[tokens[place]] or (VOCABULARY.continues_word[tokens[place]] and not before):
            found.append([place, place])
        elif VOCABULARY.continues_word[tokens[place]]:
            found[-1][1] = place
    return found


def greedy_from(network, context):
    """The word that greedy decoding writes after a context: its first token, then letters as long as they come."""
    first = int(network(torch.tensor([context])).logits[0, -1].argmax())
    return completed(network, context, first)


def completed(network, context, first):
    word = [first]
    while len(word) < LENGTH:
        token = int(network(torch.tensor([[*context, *word]])).logits[0, -1].argmax())
        if not VOCABULARY.continues_word[token]:
            break
        word.append(token)
    return word


def slowly(network, ids, labels):
    total = WordCounts()
    for row, label in zip(ids.tolist(), labels.tolist(), strict=True):
        tokens = row[: sum(value >= 0 for value in label)]
        logits = network(torch.tensor([tokens])).logits[0]
        right = shown = 0
        for first, last in words_of(tokens):
            context, word = tokens[:first], tokens[first : last + 1]
            right += greedy_from(network, context) == word
            kind = VOCABULARY.starts_word if VOCABULARY.starts_word[word[0]] else VOCABULARY.continues_word
            ranked = logits[first - 1].masked_fill(~torch.from_numpy(kind), -math.inf).topk(3).indices.tolist()
            shown += any(completed(network, context, token) == word for token in ranked)
        targets = torch.tensor(tokens[1:])
        total = total + WordCounts(
            words=len(words_of(tokens)),
            right=right,
            shown=shown,
            tokens=len(targets),
            tokens_right=int((logits[:-1].argmax(-1) == targets).sum()),
            loss=float(F.cross_entropy(logits[:-1], targets, reduction="sum")),
        )
    return total


@torch.no_grad()
def test_counts_equal_those_of_decoding_every_word():
    network, ids, labels = sequences(40)
    fast = NextWordScorer(VOCABULARY).counts(network(ids).logits, labels)
    slow = slowly(network, ids, labels)
    assert slow.words > 100
    assert 0 < slow.right < slow.shown < slow.words
    assert (fast.words, fast.right, fast.shown) == (slow.words, slow.right, slow.shown)
    assert (fast.tokens, fast.tokens_right) == (slow.tokens, slow.tokens_right)
    assert fast.loss == pytest.approx(slow.loss, rel=1e-5)


@torch.no_grad()
def test_counts_do_not_depend_on_how_sequences_are_batched():
    network, ids, labels = sequences(12, seed=3)
    scorer = NextWordScorer(VOCABULARY)
    whole = scorer.counts(network(ids).logits, labels)
    parts = sum(
        (scorer.counts(network(ids[i : i + 5]).logits, labels[i : i + 5]) for i in range(0, 12, 5)), WordCounts()
    )
    assert (whole.words, whole.right, whole.shown, whole.tokens_right) == (
        parts.words,
        parts.right,
        parts.shown,
        parts.tokens_right,
    )


@torch.no_grad()
def test_a_word_among_the_suggestions_counts_for_top_3_and_no_other_does():
    network, ids, labels = sequences(6, seed=5)
    tok = tokenizer()
    for row, label in zip(ids.tolist(), labels.tolist(), strict=True):
        tokens = row[: sum(value >= 0 for value in label)]
        for first, last in words_of(tokens):
            text = tok.decode(tokens[1:first])
            if first == 1 or not VOCABULARY.starts_word[tokens[first]] or tok.encode(text) != tokens[1:first]:
                continue  # the text would be read as other tokens
            mark = torch.full((1, last + 1), -100)
            mark[0, : last + 1] = torch.tensor(tokens[: last + 1])
            before = torch.full((1, first), -100)
            before[0] = torch.tensor(tokens[:first])
            scorer = NextWordScorer(VOCABULARY)
            counted = (
                scorer.counts(network(mark).logits, mark).shown - scorer.counts(network(before).logits, before).shown
            )
            words = [one.word for one in suggest(network, tok, text, positions=32)]
            assert (tok.decode(tokens[first : last + 1]).strip() in words) == bool(counted)


def test_a_head_wider_than_its_tokenizer_is_cut():
    network, ids, labels = sequences(4)
    scorer = NextWordScorer(VOCABULARY)
    with torch.no_grad():
        logits = network(ids).logits
    wider = F.pad(logits, (0, 7), value=1e4)
    assert scorer.counts(wider, labels) == scorer.counts(logits, labels)


def test_scores_of_nothing_are_finite():
    assert WordCounts().scores()["accuracy"] == 0.0
