"""Which tokens make words, for the vocabularies that bases come with."""

from __future__ import annotations

import pytest

from experiments.datasets.data_root import data_root
from experiments.language.tokenizer import load_tokenizer
from experiments.language.vocabulary import Vocabulary
from tests.experiments.language.tiny_language import tokenizer


def test_letters_after_a_space_start_a_word_and_letters_alone_go_on_with_one():
    tok = tokenizer()
    facts = Vocabulary.of(tok)
    (the,) = tok.encode(" the")
    assert facts.starts_word[the]
    assert not facts.continues_word[the]
    e = tok.convert_tokens_to_ids("e")
    assert facts.continues_word[e]
    assert not facts.starts_word[e]


@pytest.mark.parametrize("text", [".", "1", "_", "\n", "(", " (", " 12"])
def test_numbers_and_punctuation_are_no_words(text):
    facts = Vocabulary.of(tokenizer())
    assert not any(facts.is_word[token] for token in tokenizer().encode(text))


def test_the_special_token_is_no_word_and_ends_no_sentence():
    tok = tokenizer()
    facts = Vocabulary.of(tok)
    assert not facts.is_word[tok.eos_token_id]
    assert not facts.ends_sentence[tok.eos_token_id]


@pytest.mark.parametrize(
    ("text", "ends"), [(".", True), ("?", True), ("!", True), ("\n", True), (",", False), ("a", False)]
)
def test_sentences_end_with_a_stop_or_a_line_feed(text, ends):
    (token,) = tokenizer().encode(text)
    assert Vocabulary.of(tokenizer()).ends_sentence[token] == ends


@pytest.mark.skipif(not (data_root()[0] / "gpt2-tokenizer").is_dir(), reason="needs GPT-2's tokenizer in SOTTO_DATA")
def test_words_of_gpt2s_vocabulary_are_the_letter_runs_of_the_text():
    tok = load_tokenizer("gpt2")
    facts = Vocabulary.of(tok)
    ids = tok.encode("Internationalisation isn't hard, says O(n) user42.")
    words: list[str] = []
    inside = False
    for token in ids:
        text = tok.decode([token])
        if facts.starts_word[token] or (facts.continues_word[token] and not inside):
            words.append(text.strip())
        elif facts.continues_word[token]:
            words[-1] += text
        inside = bool(facts.is_word[token])
    assert words == ["Internationalisation", "isn", "hard", "says", "O", "n", "user"]
