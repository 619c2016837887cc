"""The corpus: held-out documents are in no training stream, whatever the order of the text."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from experiments.datasets.errors import DatasetCorrupt
from experiments.language import corpus as corpus_module
from experiments.language.corpus import Corpus, make_corpus
from experiments.language.recipe import TokenizerSettings
from experiments.language.text_sources import TextSource, held_out
from secagg.errors import SottoError
from tests.experiments.language.tiny import corpus_of, documents, recipe, write_text


def texts_in(stream, tokenizer):
    return tokenizer.decode(stream).split("<|endoftext|>")[:-1]


def with_sources(settings, *sources):
    return replace(settings, text=replace(settings.text, sources=list(sources)))


def test_every_document_is_either_trained_on_or_held_out(tmp_path):
    corpus, tokenizer = corpus_of(recipe(write_text(tmp_path / "a.jsonl")))
    train, kept = texts_in(corpus.train, tokenizer), texts_in(corpus.held_out, tokenizer)
    assert train == [text for text in documents() if not held_out(text, 10.0)]
    assert kept == [text for text in documents() if held_out(text, 10.0)]
    assert train
    assert kept
    assert corpus.held_out_characters == sum(map(len, kept))


def test_what_is_held_out_depends_neither_on_order_nor_on_other_documents(tmp_path):
    forward, ours = corpus_of(recipe(write_text(tmp_path / "a.jsonl")))
    more = [*documents(seed=1), *reversed(documents())]
    backward, theirs = corpus_of(recipe(write_text(tmp_path / "b.jsonl", more)))
    assert set(texts_in(forward.held_out, ours)) <= set(texts_in(backward.held_out, theirs))
    assert set(texts_in(forward.train, ours)) <= set(texts_in(backward.train, theirs))


def test_the_vocabulary_is_not_trained_on_held_out_documents(tmp_path, monkeypatch):
    seen = []
    train_bpe = corpus_module.train_bpe

    def watched(texts, size):
        seen.extend(texts)
        return train_bpe(seen, size)

    monkeypatch.setattr(corpus_module, "train_bpe", watched)
    corpus_of(recipe(write_text(tmp_path / "a.jsonl")))
    assert seen
    assert not any(held_out(text, 10.0) for text in seen)


def test_a_repeated_source_is_in_the_training_stream_as_often_and_held_out_once(tmp_path):
    settings = recipe(write_text(tmp_path / "a.jsonl"))
    other = TextSource(str(write_text(tmp_path / "b.jsonl", documents(40, seed=1))), repeat=3)
    once, tokenizer = corpus_of(with_sources(settings, *settings.text.sources, replace(other, repeat=1)))
    thrice, _ = corpus_of(with_sources(settings, *settings.text.sources, other))
    first, second = texts_in(once.train, tokenizer), [t for t in documents(40, seed=1) if not held_out(t, 10.0)]
    assert texts_in(thrice.train, tokenizer) == [*first, *second, *second]
    assert np.array_equal(thrice.train[: thrice.once], once.train)
    assert once.once == thrice.once == len(once.train)
    assert np.array_equal(thrice.held_out, once.held_out)
    assert thrice.held_out_characters == once.held_out_characters


def test_a_saved_corpus_loads_as_itself(tmp_path):
    corpus, _ = corpus_of(recipe(write_text(tmp_path / "a.jsonl")))
    corpus.save(tmp_path / "tokens.npz")
    loaded = Corpus.load(tmp_path / "tokens.npz")
    assert np.array_equal(loaded.train, corpus.train)
    assert np.array_equal(loaded.held_out, corpus.held_out)
    assert (loaded.held_out_characters, loaded.once) == (corpus.held_out_characters, corpus.once)


def test_text_that_leaves_one_side_empty_is_a_sentence(tmp_path):
    path = write_text(tmp_path / "a.jsonl", [text for text in documents() if not held_out(text, 10.0)])
    with pytest.raises(SottoError, match="tokens to train on and 0 held out; both are needed"):
        corpus_of(recipe(path))
    path = write_text(tmp_path / "a.jsonl", [text for text in documents() if held_out(text, 10.0)])
    with pytest.raises(SottoError, match="text.sources give 0 tokens to train on"):
        corpus_of(recipe(path))


def test_damage_met_while_the_vocabulary_is_trained_stays_a_sentence(tmp_path):
    path = write_text(tmp_path / "a.jsonl")
    path.write_text(path.read_text() + "oops\n")
    with pytest.raises(DatasetCorrupt, match="a.jsonl, line 121 is not JSON"):
        corpus_of(recipe(path))


def test_progress_names_what_is_read(tmp_path):
    path = write_text(tmp_path / "a.jsonl")
    said = []
    _, tokenizer = make_corpus(recipe(path), said.append)
    assert said == ["training a vocabulary of 280", f"tokenising {path}"]
    tokenizer.save_pretrained(str(tmp_path / "tokenizer"))
    said.clear()
    make_corpus(replace(recipe(path), tokenizer=TokenizerSettings(str(tmp_path / "tokenizer"))), said.append)
    assert said == [f"tokenising {path}"]
