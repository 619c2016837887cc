"""Public text: every kind of source gives its documents in order; what is wrong is a sentence with file and line."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.datasets.errors import DatasetCorrupt, DatasetMissing
from experiments.language.text_sources import TextSource, held_out, read_documents

TEXTS = ["one\ntwo", "é 漢 \u2028", ""]


def lines(texts, key="text"):
    return "".join(json.dumps({key: text, "id": 1}) + "\n" for text in texts).encode()


def read(path, **options):
    return list(read_documents(TextSource(str(path), **options)))


def test_every_kind_of_file_gives_its_documents(tmp_path):
    (tmp_path / "a.txt").write_text("one document\nof two lines", encoding="utf-8")
    (tmp_path / "b.jsonl").write_bytes(lines(TEXTS))
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(lines(TEXTS, "body")))
    assert read(tmp_path / "a.txt") == ["one document\nof two lines"]
    assert read(tmp_path / "b.jsonl") == TEXTS
    assert read(tmp_path / "c.jsonl.gz", field="body") == TEXTS


def test_a_folder_is_its_text_files_by_name(tmp_path):
    (tmp_path / "b.txt").write_text("B")
    (tmp_path / "a.jsonl").write_bytes(lines(["A1", "A2"]))
    (tmp_path / "notes.md").write_text("no text source")
    assert read(tmp_path) == ["A1", "A2", "B"]


def test_repetition_is_left_to_the_corpus(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(lines(TEXTS))
    assert read(tmp_path / "a.jsonl", repeat=3) == TEXTS


def test_a_relative_path_is_also_looked_for_in_the_data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SOTTO_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path.parent)
    (tmp_path / "only_here.txt").write_text("found")
    assert read("only_here.txt") == ["found"]


DEEP = gzip.compress(lines(["some text " * 50] * 200), mtime=0)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("x.jsonl", lines(["a"]) + b"{oops\n", r"x.jsonl, line 2 is not JSON: Expecting property name"),
        ("x.jsonl", lines(["a"]) + b"\n", r"x.jsonl, line 2 is not JSON"),
        ("x.jsonl", lines(["a", "b"]) + b'{"body": "c"}\n', r"x.jsonl, line 3: no key 'text'"),
        ("x.jsonl", b'["text"]\n', r"x.jsonl, line 1 is no JSON object"),
        ("x.jsonl", b'{"text": null}\n', r"x.jsonl, line 1: 'text' is no string"),
        ("x.jsonl", b'{"text": 5}\n', r"x.jsonl, line 1: 'text' is no string"),
        ("x.jsonl", b'{"text": "a\\ud800"}\n', r"x.jsonl, line 1: 'text' holds half a surrogate pair"),
        ("x.jsonl", b'{"text": "\xff"}\n', r"x.jsonl is damaged after line 0: 'utf-8' codec can't decode byte 0xff"),
        ("x.jsonl.gz", lines(["a"]), r"x.jsonl.gz is damaged after line 0: Not a gzipped file"),
        ("x.jsonl.gz", DEEP[:-20], r"x.jsonl.gz is damaged after line \d+: Compressed file ended"),
        ("x.jsonl.gz", DEEP[:60] + b"\xff" * 60 + DEEP[120:], r"x.jsonl.gz is damaged after line \d+: "),
        ("x.txt", b"caf\xe9 noir", r"x.txt cannot be read as UTF-8 text: 'utf-8' codec can't decode byte 0xe9"),
    ],
)
def test_damage_is_one_sentence_with_file_and_line(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetCorrupt, match=says) as caught:
        read(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_what_is_not_there_says_where_it_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("SOTTO_DATA", str(tmp_path))
    with pytest.raises(DatasetMissing, match=f"nowhere.txt is not there .*{tmp_path}/nowhere.txt.*hub:OWNER/NAME"):
        read("nowhere.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetMissing, match="empty holds no .txt, .jsonl or .jsonl.gz file"):
        read("empty")
    (tmp_path / "x.csv").write_text("a")
    with pytest.raises(DatasetMissing, match="allowed are .txt, .jsonl, .jsonl.gz"):
        read("x.csv")


def test_a_hub_source_without_the_hub_is_a_sentence(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DatasetMissing, match="hub:some/text:train: the hub cannot be used: HF_HUB_OFFLINE is set"):
        read("hub:some/text:train")


def test_a_hub_source_reads_the_named_column_and_split(monkeypatch):
    import datasets

    from experiments.language import text_sources

    def load(name, split):
        assert (name, split) == ("some/text", "test")
        return [{"body": "a"}, {"body": None}]

    monkeypatch.setattr(text_sources, "hub_obstacle", lambda: None)
    monkeypatch.setattr(datasets, "load_dataset", load)
    documents = read_documents(TextSource("hub:some/text:test", "body"))
    assert next(documents) == "a"
    with pytest.raises(DatasetCorrupt, match="hub:some/text:test, row 2: 'body' is no string"):
        next(documents)
    with pytest.raises(DatasetMissing, match="hub:some/text:test: KeyError: 'text'"):
        read("hub:some/text:test")


@given(st.text(), st.floats(0.01, 99), st.floats(0.01, 99))
def test_a_larger_percentage_keeps_every_document_that_a_smaller_one_keeps(document, one, other):
    if held_out(document, min(one, other)):
        assert held_out(document, max(one, other))


@pytest.mark.parametrize("percent", [1.0, 10.0, 50.0])
def test_about_as_many_documents_are_held_out_as_asked_for(percent):
    kept = sum(held_out(f"document {number}", percent) for number in range(20_000))
    expected = 200 * percent
    assert abs(kept - expected) < 5 * (expected * (1 - percent / 100)) ** 0.5


def test_the_division_never_changes():
    """A base trained last year must not meet its test text in training today."""
    kept = [number for number in range(100) if held_out(f"document {number}", 5.0)]
    assert kept == [21, 22, 55, 59, 75, 80, 94]


def test_a_line_that_no_memory_holds_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "text.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b'{"text": "a"}\n' + b"x" * 2**25)
    with pytest.raises(DatasetCorrupt, match="line 2 is longer than 16777216 characters"):
        list(read_documents(TextSource(str(path))))


def test_deep_nesting_is_no_json(tmp_path):
    path = tmp_path / "text.jsonl"
    path.write_text("[" * 100_000 + "\n")
    with pytest.raises(DatasetCorrupt, match="line 1 is not JSON"):
        list(read_documents(TextSource(str(path))))
