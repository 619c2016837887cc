"""Tokenizers write any text back as it was, and one that cannot be used is a sentence."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from experiments.datasets.data_root import data_root
from experiments.language.tokenizer import END_OF_TEXT, load_tokenizer, train_bpe
from secagg.errors import SottoError
from tests.experiments.language.tiny import documents

needs_gpt2 = pytest.mark.skipif(
    not (data_root()[0] / "gpt2-tokenizer" / "vocab.json").is_file(), reason="SOTTO_DATA holds no gpt2-tokenizer"
)
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.fixture(scope="module")
def bpe():
    return train_bpe(documents(), 300)


@given(text=ANY_TEXT)
@example(text="Hello , world . don't  \r\n\t é 漢 🙂 <|endoftext|> .")
def test_any_text_comes_back_as_it_was(bpe, text):
    ids = bpe(text)["input_ids"]
    assert bpe.decode(ids) == text
    assert all(0 <= i < len(bpe) for i in ids)


def test_the_vocabulary_has_the_size_asked_for_and_one_token_that_ends_a_text(bpe):
    assert len(bpe) == bpe.backend_tokenizer.get_vocab_size() == 300
    assert bpe.eos_token == bpe.bos_token == END_OF_TEXT
    assert bpe(END_OF_TEXT)["input_ids"] == [bpe.eos_token_id]


def test_too_little_text_gives_fewer_entries():
    assert len(train_bpe(["aa"], 5000)) == 258


def test_the_same_text_gives_the_same_vocabulary(bpe):
    assert train_bpe(documents(), 300).get_vocab() == bpe.get_vocab()
    assert train_bpe(documents(seed=1), 300).get_vocab() != bpe.get_vocab()


def test_a_vocabulary_without_room_for_all_bytes_is_a_sentence():
    assert len(train_bpe(["a"], 257)) == 257
    with pytest.raises(SottoError, match="tokenizer.vocabulary is 256; allowed: 257 or more"):
        train_bpe(["a"], 256)


def test_a_saved_tokenizer_is_the_same_for_us_and_for_transformers(bpe, tmp_path):
    bpe.save_pretrained(str(tmp_path))
    text = "the cat , sees . the dog's 🙂"
    for loaded in (load_tokenizer(str(tmp_path)), AutoTokenizer.from_pretrained(str(tmp_path))):
        assert loaded(text)["input_ids"] == bpe(text)["input_ids"]
        assert loaded.decode(loaded(text)["input_ids"]) == text
        assert loaded.eos_token_id == bpe.eos_token_id


@needs_gpt2
def test_gpt2_is_the_published_vocabulary():
    gpt2 = load_tokenizer("gpt2")
    assert gpt2("Hello world")["input_ids"] == [15496, 995]
    assert (len(gpt2), gpt2.eos_token_id) == (50257, 50256)
    assert gpt2.decode(gpt2("It's 1 , 2 .")["input_ids"]) == "It's 1 , 2 ."


def test_an_unknown_name_without_the_hub_is_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("SOTTO_DATA", str(tmp_path))
    for name in ("some/tokenizer", "gpt2"):
        with pytest.raises(SottoError, match=f"tokenizer {name} is no folder, .*HF_HUB_OFFLINE is set"):
            load_tokenizer(name)


def test_a_folder_without_a_usable_tokenizer_is_a_sentence(bpe, tmp_path):
    with pytest.raises(SottoError, match=f"tokenizer {tmp_path} cannot be loaded: ") as caught:
        load_tokenizer(str(tmp_path))
    assert "\n" not in str(caught.value)
    bpe.save_pretrained(str(tmp_path))
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**settings, "eos_token": None}))
    with pytest.raises(SottoError, match="has no end-of-text token"):
        load_tokenizer(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "text"),
    [("vocab.json", '{"a": 4294967295}'), ("vocab.json", '{"a": 1}'), ("vocab.json", "[]"), ("vocab.json", "{"),
     ("vocab.json", '{"a": 0, "b": 0}'), ("vocab.json", "[" * 100_000), ("merges.txt", "one two three\n")],
)  # fmt: skip
def test_files_of_gpt2_that_are_wrong_are_refused(tmp_path, monkeypatch, name, text):
    home = tmp_path / "gpt2-tokenizer"
    home.mkdir()
    (home / "vocab.json").write_text('{"a": 0, "b": 1}')
    (home / "merges.txt").write_text("#version: 0.2\n")
    (home / name).write_text(text)
    monkeypatch.setenv("SOTTO_DATA", str(tmp_path))
    with pytest.raises(SottoError, match="gpt2-tokenizer"):
        load_tokenizer("gpt2")
