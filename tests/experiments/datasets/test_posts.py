"""Posts by users: published files, any folder, the embedded set; what is damaged or mixed up is refused."""

from __future__ import annotations

import gzip
import json

import pytest

from experiments.datasets import DatasetCorrupt, DatasetMissing, catalogue, load_posts
from experiments.datasets.data_root import data_root
from secagg.errors import SottoError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SOTTO_CACHE", str(tmp_path / "cache"))


def write(folder, split, rows, zipped=False):
    folder.mkdir(exist_ok=True)
    content = "".join(json.dumps(row) + "\n" for row in rows)
    if zipped:
        (folder / f"{split}.jsonl.gz").write_bytes(gzip.compress(content.encode()))
    else:
        (folder / f"{split}.jsonl").write_text(content)


def rows(prefix, count=3):
    return [{"user": f"{prefix}{n % 2}", "text": f"post {n}", "score": n} for n in range(count)]


@pytest.mark.parametrize("zipped", [False, True])
def test_a_folder_of_posts_is_read_in_order_with_its_users(tmp_path, zipped):
    folder = tmp_path / "mine"
    write(folder, "train", rows("a"), zipped)
    write(folder, "test", rows("b"), zipped)
    posts = load_posts(str(folder))
    assert posts.name == "mine"
    assert posts.source == "folder"
    assert posts.train["text"][:] == ["post 0", "post 1", "post 2"]
    assert posts.train["user"][:] == ["a0", "a1", "a0"]
    assert posts.train.column_names == ["user", "text"]


def test_other_content_has_another_digest(tmp_path):
    for name, count in (("one", 3), ("two", 4)):
        write(tmp_path / name, "train", rows("a", count))
        write(tmp_path / name, "test", rows("b"))
    assert load_posts(str(tmp_path / "one")).digest != load_posts(str(tmp_path / "two")).digest


def test_a_user_on_both_sides_is_refused(tmp_path):
    write(tmp_path / "p", "train", rows("a"))
    write(tmp_path / "p", "test", rows("a"))
    with pytest.raises(DatasetCorrupt, match="2 users are in train and in test"):
        load_posts(str(tmp_path / "p"))


def test_a_missing_split_is_named(tmp_path):
    write(tmp_path / "p", "train", rows("a"))
    with pytest.raises(DatasetMissing, match="holds neither test.jsonl.gz nor test.jsonl"):
        load_posts(str(tmp_path / "p"))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b'{"user": "a"}\n', "line 1 has no text 'text' \\(found: nothing\\)"),
        (b'{"user": 3, "text": "x"}\n', "line 1 has no text 'user' \\(found: int\\)"),
        (b'{"user": "a", "text": "x"}\n\n{"user": "a", "text": null}\n', "line 3 has no text 'text'"),
        (b'{"user": "a", "text": "\\ud800"}\n', "half of a surrogate pair"),
        (b'{"user": "a", "text": "x\xff"}\n', "is not UTF-8 after line 0"),
        (b"{not json\n", "line 1 cannot be read as JSON lines"),
        (b"[]\n", "line 1 holds no object"),
        (b"\n", "train split: no post"),
    ],
)
def test_what_is_no_post_is_refused_in_a_sentence(tmp_path, content, sentence):
    write(tmp_path / "p", "test", rows("b"))
    (tmp_path / "p" / "train.jsonl").write_bytes(content)
    with pytest.raises(DatasetCorrupt, match=sentence):
        load_posts(str(tmp_path / "p"))


def test_a_packed_file_that_ends_too_early_is_refused_in_a_sentence(tmp_path):
    write(tmp_path / "p", "train", rows("a", 1000), zipped=True)
    write(tmp_path / "p", "test", rows("b"))
    path = tmp_path / "p" / "train.jsonl.gz"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DatasetCorrupt, match="cannot be read after line"):
        load_posts(str(tmp_path / "p"))


def test_texts_are_taken_as_they_are_and_other_keys_may_hold_anything(tmp_path):
    folder = tmp_path / "p"
    texts, more = ["2024-01-01", "12", "Zeile\nzwei\u2028ß", ' "quoted" '], [1, "x", [], {}]
    write(
        folder,
        "train",
        [{"more": other, "user": "2024", "text": text} for text, other in zip(texts, more, strict=True)],
    )
    write(folder, "test", rows("b"))
    (folder / "train.jsonl").write_bytes(b"\xef\xbb\xbf" + (folder / "train.jsonl").read_bytes())
    assert load_posts(str(folder)).train["text"][:] == texts


def test_the_texts_of_a_folder_are_copied_nowhere(tmp_path):
    write(tmp_path / "p", "train", rows("a"))
    write(tmp_path / "p", "test", rows("b"))
    load_posts(str(tmp_path / "p"))
    assert not (tmp_path / "cache").exists()


def test_a_published_set_with_other_bytes_is_refused_and_never_replaced(tmp_path, monkeypatch):
    monkeypatch.setenv("SOTTO_DATA", str(tmp_path))
    write(tmp_path / "stackoverflow", "train", rows("a"), zipped=True)
    write(tmp_path / "stackoverflow", "test", rows("b"), zipped=True)
    with pytest.raises(DatasetCorrupt, match="is not the published file"):
        load_posts("stackoverflow")
    entry = next(entry for entry in catalogue() if entry.name == "stackoverflow")
    assert entry.checksums_ok is False


@pytest.mark.parametrize(("name", "hint"), [("stackexchang", "did you mean stackexchange"), ("x/y", "is no folder")])
def test_unknown_names_are_sentences(name, hint):
    with pytest.raises(SottoError, match=hint):
        load_posts(name)


def test_the_embedded_topics_are_there_and_disjoint():
    posts = load_posts("topics")
    assert posts.source == "embedded"
    assert len(posts.train.unique("user")) > 4 * len(posts.test.unique("user")) - 8
    assert min(map(len, posts.train["text"])) >= 20
    assert load_posts("topics").digest == posts.digest


@pytest.mark.skipif(not (data_root()[0] / "stackoverflow").is_dir(), reason="needs Stack Overflow posts in SOTTO_DATA")
def test_the_real_posts_are_those_that_were_published():
    posts = load_posts("stackoverflow")
    assert (len(posts.train), len(posts.test)) == (24_514, 4_577)
    assert (len(posts.train.unique("user")), len(posts.test.unique("user"))) == (6_052, 1_095)
