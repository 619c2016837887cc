"""Posts cut into sequences: nothing but wordless pieces is lost, no word is split, whose they are is kept."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from experiments.language.sequences import cut, sequences_of
from experiments.language.vocabulary import Vocabulary
from tests.experiments.language.tiny_language import posts, tokenizer

VOCABULARY = Vocabulary.of(tokenizer())


@given(st.lists(st.integers(1, len(tokenizer()) - 1), max_size=80), st.integers(1, 30))
def test_pieces_are_the_post_in_order_without_wordless_stretches(ids, room):
    pieces = cut(ids, VOCABULARY, room)
    assert all(0 < len(piece) <= room for piece in pieces)
    assert all(any(VOCABULARY.is_word[token] for token in piece) for piece in pieces)
    # The pieces are disjoint runs of the post, in order, and what lies between them has no word.
    rest = ids
    for piece in pieces:
        place = next(i for i in range(len(rest)) if rest[i : i + len(piece)] == piece)
        rest = rest[place + len(piece) :]
    kept = sum(bool(VOCABULARY.is_word[token]) for piece in pieces for token in piece)
    assert kept == sum(bool(VOCABULARY.is_word[token]) for token in ids)


@given(st.lists(st.integers(1, len(tokenizer()) - 1), min_size=1, max_size=80), st.integers(2, 30))
def test_only_a_word_longer_than_a_piece_is_split(ids, room):
    place = 0
    for piece in cut(ids, VOCABULARY, room):
        while ids[place : place + len(piece)] != piece:
            place += 1
        end = place + len(piece)
        if end < len(ids) and VOCABULARY.continues_word[ids[end]] and VOCABULARY.is_word[ids[end - 1]]:
            assert all(VOCABULARY.continues_word[token] for token in piece[1:])
        place = end


def test_a_post_is_cut_after_a_sentence_when_that_costs_less_than_half_a_piece():
    tok = tokenizer()
    ids = tok.encode("The value is returned. Otherwise an exception is raised by the caller of it")
    stop = next(i for i, token in enumerate(ids) if VOCABULARY.ends_sentence[token]) + 1
    assert cut(ids, VOCABULARY, stop + 3)[0] == ids[:stop]
    assert cut(ids, VOCABULARY, 3 * stop)[0] != ids[:stop]


def test_sequences_hold_all_words_of_each_user_behind_a_beginning_mark(monkeypatch, tmp_path):
    monkeypatch.setenv("SOTTO_CACHE", str(tmp_path))
    table = posts().train.select(range(60))
    tok = tokenizer()
    made = sequences_of(table, "some", tok, 20)
    assert made.ids.shape == (len(made.lengths), 20)
    assert made.ids.dtype == np.int32
    assert (made.ids[:, 0] == tok.eos_token_id).all()
    assert made.lengths.min() >= 2
    assert made.lengths.max() <= 20
    assert [len(set(table["user"]))] == [made.users.max() + 1]
    own = [ids[1:n] for ids, n, user in zip(made.ids, made.lengths, made.users, strict=True) if user == 0]
    first = table["user"][0]
    text = "".join(post for post, user in zip(table["text"], table["user"], strict=True) if user == first)
    letters = "".join(filter(str.isalpha, tok.decode(np.concatenate(own))))
    assert letters == "".join(filter(str.isalpha, text))


def test_labels_are_the_ids_and_nothing_in_the_padding(monkeypatch, tmp_path):
    monkeypatch.setenv("SOTTO_CACHE", str(tmp_path))
    made = sequences_of(posts().train.select(range(20)), "few", tokenizer(), 12)
    labels = made.labels()
    for row, n in enumerate(made.lengths):
        assert (labels[row, :n] == made.ids[row, :n]).all()
        assert (labels[row, n:] == -100).all()


def test_the_second_time_tokens_come_from_the_cache_and_another_length_does_not(monkeypatch, tmp_path):
    monkeypatch.setenv("SOTTO_CACHE", str(tmp_path))
    table = posts().train.select(range(20))
    first = sequences_of(table, "few", tokenizer(), 12)
    files = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "sequences").iterdir()}
    again = sequences_of(table, "few", tokenizer(), 12)
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "sequences").iterdir()} == files
    assert (first.ids == again.ids).all()
    assert sequences_of(table, "few", tokenizer(), 16).ids.shape[1] == 16


def test_tokens_of_texts_that_are_not_public_are_the_same_and_written_nowhere(monkeypatch, tmp_path):
    monkeypatch.setenv("SOTTO_CACHE", str(tmp_path / "public"))
    table = posts().train.select(range(20))
    kept = sequences_of(table, "few", tokenizer(), 12)
    monkeypatch.setenv("SOTTO_CACHE", str(tmp_path / "own"))
    made = sequences_of(table, "few", tokenizer(), 12, keep=False)
    assert (made.ids == kept.ids).all()
    assert (made.lengths == kept.lengths).all()
    assert (made.users == kept.users).all()
    assert not (tmp_path / "own").exists()
