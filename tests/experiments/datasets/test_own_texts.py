"""A file of one's own texts: what is read as it stands, what is left out and counted, what is refused in a sentence."""

from __future__ import annotations

import csv
import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.datasets import own_texts, read_texts
from secagg.errors import SottoError

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


def put(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refusal(path, **options):
    with pytest.raises(SottoError) as told:
        read_texts(path, **options)
    sentence = str(told.value).replace(str(path), "FILE")
    assert "\n" not in sentence
    return sentence


@given(rows=st.lists(st.tuples(WORDS, WORDS), max_size=6), ending=st.sampled_from(["csv", "tsv", "jsonl"]))
def test_what_was_written_is_read_back_or_counted(tmp_path_factory, rows, ending):
    path = tmp_path_factory.mktemp("own") / f"texts.{ending}"
    with path.open("w", newline="", encoding="utf-8") as handle:
        if ending == "jsonl":
            handle.writelines(json.dumps({"n": 1, "text": text, "user": user}) + "\n" for user, text in rows)
        else:
            writer = csv.writer(handle, delimiter="," if ending == "csv" else "\t")
            writer.writerows([("n", "text", "user"), *((1, text, user) for user, text in rows)])
    found = read_texts(path)
    owned = [(user, text) for user, text in rows if user.strip()]
    assert found.rows == [(user, text) for user, text in owned if any(letter.isalpha() for letter in text)]
    assert found.without_user == len(rows) - len(owned)
    assert found.without_word == len(owned) - len(found.rows)


def test_columns_have_any_name_and_files_may_be_packed(tmp_path):
    path = put(tmp_path, "T.CSV.GZ", gzip.compress('\ufeffauthor,body\nann,one\n\nbob,"two, \nlines"\n'.encode()))
    found = read_texts(path, user_column="author", text_column="body")
    assert found.rows == [("ann", "one"), ("bob", "two, \nlines")]


def test_other_encodings_and_delimiters_are_said(tmp_path):
    path = put(tmp_path, "t.csv", "user;text\nann;für\n".encode("cp1252"))
    assert refusal(path).startswith("FILE, line 2: not utf-8 (")
    assert "say --delimiter ';'" in refusal(path, encoding="cp1252")
    assert read_texts(path, encoding="cp1252", delimiter=";").rows == [("ann", "für")]
    wide = put(tmp_path, "w.csv", "user,text\nann,für\n".encode("utf-16"))
    assert refusal(wide) == "FILE begins with the mark of UTF-16; say --encoding utf-16"
    assert read_texts(wide, encoding="utf-16").rows == [("ann", "für")]


def test_numbers_name_users_in_json(tmp_path):
    path = put(
        tmp_path, "t.jsonl", '{"user": 7, "text": "a"}\n\n{"user": null, "text": "b"}\n{"user": 8, "text": null}\n'
    )
    assert read_texts(path) == own_texts.OwnTexts([("7", "a")], 1, 1)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("t.csv", "", "FILE is empty; its first line must name the columns"),
        ("t.csv", "user_id,text\n", "FILE has no column 'user'; did you mean --user-column user_id? there are: "),
        ("t.csv", "USER,text\n", "FILE has no column 'user'; did you mean --user-column USER?"),
        ("t.csv", "user,body\n", "FILE has no column 'text'; name it with --text-column; there are: user, body"),
        ("t.csv", "user,text,text\n", "FILE has 2 columns 'text'; allowed: one"),
        ("t.csv", "user\ttext\n", "say --delimiter $'\\t'"),
        ("t.csv", "user,text\nann,one,two\n", "FILE, line 2: 3 fields, and the first line names 2;"),
        ("t.csv", "user,text\nann\n", "FILE, line 2: one field, and"),
        ("t.csv", 'user,text\nann,"one\n', "FILE, line 2: a quotation mark is never closed"),
        ("t.csv", 'user,text\na,b\nann,"one\nb,c\nd,e\n', "FILE, line 3: a quotation mark is never closed"),
        (
            "t.csv",
            'user,text\na,"b\nc"\nann,"one\nb,"c"\n',
            "FILE, line 5: ',' expected after '\"'; the row begins in line 4",
        ),
        ("t.csv", 'user,text\na,"b\nc",d\n', "FILE, line 2: 3 fields"),
        ("t.csv", 'user,text\nann,"one"two\n', "FILE, line 2: ',' expected after '\"'"),
        ("t.csv", "user,text\nann,a\0b\n", "FILE, line 2: a zero byte"),
        ("t.jsonl", "[1]\n", "FILE, line 1: list and no object"),
        ("t.jsonl", '{"user": 1, "text": "a"}\n{"user"\n', "FILE, line 2: not JSON ("),
        ("t.jsonl", "[" * 100_000, "FILE, line 1: not JSON ("),
        ("t.jsonl", "9" * 5000, "FILE, line 1: not JSON ("),
        ("t.jsonl", '{"author": 1, "text": "a"}\n', "FILE, line 1 has no key 'user'; name it with --user-column;"),
        ("t.jsonl", '{"user": 1.5, "text": "a"}\n', "FILE, line 1: 'user' is float; allowed: a string or a whole"),
        ("t.jsonl", '{"user": true, "text": "a"}\n', "FILE, line 1: 'user' is bool"),
        ("t.jsonl", '{"user": "a", "text": ["a"]}\n', "FILE, line 1: 'text' is list; allowed: a string, or null"),
        ("t.jsonl", '{"user": "a", "text": "\\ud800"}\n', "half of a surrogate pair"),
        ("t.csv.gz", b"no gzip", "FILE cannot be read: "),
        ("t.csv.gz", gzip.compress(b"user,text\n" * 999, mtime=0)[:-9], "FILE cannot be read: "),
        ("t.parquet", b"", "FILE ends in .parquet; allowed: .csv, .tsv or .jsonl, each also as .gz"),
        ("t", b"", "FILE has no ending; allowed"),
    ],
)
def test_what_is_no_such_file_is_refused_where_it_is_wrong(tmp_path, name, content, sentence):
    assert sentence in refusal(put(tmp_path, name, content))


@pytest.mark.parametrize("content", ['user,text\nann,"' + "x\n" * 60, "user,text\nann," + "x" * 120])
def test_a_field_without_end_is_not_read_to_the_end(tmp_path, monkeypatch, content):
    monkeypatch.setattr(own_texts, "_LONGEST", 100)
    told = refusal(put(tmp_path, "t.csv", content))
    assert "a quotation mark is never closed" in told or "line 2: more than 100 characters" in told
    assert csv.field_size_limit() > 100


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"encoding": "klingon"}, "--encoding is 'klingon'; allowed: utf-8, "),
        ({"delimiter": ""}, "--delimiter is ''; allowed: one character"),
        ({"delimiter": "ab"}, "--delimiter is 'ab'"),
        ({"user_column": "text"}, "--user-column and --text-column are both 'text'"),
    ],
)
def test_options_that_cannot_be_are_refused(tmp_path, options, sentence):
    assert refusal(put(tmp_path, "t.csv", "user,text\n"), **options).startswith(sentence)


def test_a_file_that_is_not_there_and_a_folder_are_told(tmp_path):
    assert refusal(tmp_path / "none.csv") == "FILE is not there; allowed: a file of texts by users"
    (tmp_path / "f.csv").mkdir()
    assert refusal(tmp_path / "f.csv") == "FILE is a folder; allowed: a file of texts by users"
