"""Users of one's own texts on two sides: who is held out, who has too few texts, and what is never overwritten."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.datasets import load_posts, split_users, write_split
from secagg.errors import SottoError

ROWS = [(f"u{number % 10}", f"text {number}") for number in range(37)]


@given(
    users=st.lists(st.text(max_size=3), min_size=2, max_size=40),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 3),
)
def test_no_user_is_on_both_sides_and_every_text_is_somewhere(users, share, seed):
    rows = [(user, f"{user} {number}") for number, user in enumerate(users)]
    if len(set(users)) < 2:
        return
    split = split_users(rows, share, 1, seed)
    assert not {user for user, _ in split.train} & {user for user, _ in split.test}
    assert sorted(split.train + split.test) == sorted(rows)
    assert split.train_users + split.test_users == len(set(users))
    assert abs(split.test_users - share * len(set(users))) <= 1


def test_the_seed_decides_and_the_order_of_the_file_does_not():
    held = [{user for user, _ in split_users(rows, 0.3, 1, 0).test} for rows in (ROWS, ROWS[::-1])]
    assert held[0] == held[1]
    assert len(held[0]) == 3
    assert held[0] != {user for user, _ in split_users(ROWS, 0.3, 1, 1).test}


def test_users_with_few_texts_are_left_out_and_counted():
    split = split_users(ROWS, 0.2, 4, 0)
    assert (split.train_users + split.test_users, split.few_users, split.few_texts) == (7, 3, 9)


@pytest.mark.parametrize(
    ("rows", "share", "least", "sentence"),
    [
        (ROWS, 0.0, 1, "--test-share is 0.0; allowed: above 0 and below 1"),
        (ROWS, float("nan"), 1, "--test-share is nan"),
        ([], 0.2, 1, "there are no users; needed: 2 or more"),
        (ROWS[:1], 0.2, 1, "there is one user; needed: 2 or more"),
        (ROWS, 0.2, 5, "there are no users with 5 or more texts; needed"),
    ],
)
def test_too_few_users_are_refused(rows, share, least, sentence):
    with pytest.raises(SottoError, match=sentence):
        split_users(rows, share, least, 0)


def test_the_folder_is_one_that_is_loaded_and_is_for_its_owner(tmp_path, monkeypatch):
    monkeypatch.setenv("SOTTO_CACHE", str(tmp_path / "cache"))
    rows = [("1", "2021-02-03"), ("2", "für “you”\nand\u2028me"), ("3", "x" * 100_000), ("null", "3")]
    split = split_users(rows, 0.3, 1, 0)
    write_split(split, tmp_path / "a" / "b")
    posts = load_posts(str(tmp_path / "a" / "b"))
    assert list(zip(posts.train["user"], posts.train["text"], strict=True)) == split.train
    assert list(zip(posts.test["user"], posts.test["text"], strict=True)) == split.test
    assert os.stat(tmp_path / "a" / "b" / "train.jsonl").st_mode & 0o077 == 0


@pytest.mark.parametrize("name", ["train.jsonl", "test.jsonl.gz"])
def test_posts_are_replaced_on_demand_only(tmp_path, name):
    split = split_users(ROWS, 0.2, 1, 0)
    (tmp_path / name).write_text("precious")
    with pytest.raises(SottoError, match="already; choose another --out, or replace it with --overwrite"):
        write_split(split, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    write_split(split, tmp_path, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".gitignore", "test.jsonl", "train.jsonl"]


def test_git_ignores_the_texts_and_nothing_that_was_there_before(tmp_path):
    split = split_users(ROWS, 0.2, 1, 0)
    write_split(split, tmp_path / "new")
    assert (tmp_path / "new" / ".gitignore").read_text() == "*\n"
    (tmp_path / "code.py").write_text("")
    write_split(split, tmp_path)
    assert (tmp_path / ".gitignore").read_text() == "train.jsonl\ntest.jsonl\n"
    (tmp_path / ".gitignore").write_text("mine\n")
    write_split(split, tmp_path, overwrite=True)
    assert (tmp_path / ".gitignore").read_text() == "mine\n"


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SottoError, match="cannot be written"):
        write_split(split_users(ROWS, 0.2, 1, 0), tmp_path / "file")
