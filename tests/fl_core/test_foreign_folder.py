"""What a folder may hold that is to take a run or a report."""

from __future__ import annotations

import pytest

from fl_core.foreign_folder import refuse_foreign
from fl_core.storage import StorageError


def refuse(folder):
    refuse_foreign(folder, "run", lambda entry: entry.name == "ours")


@pytest.mark.parametrize("names", [[], [".lock", "nohup.out", "a.log", "lost+found"], ["ours", "mine.txt"]])
def test_a_new_one_an_empty_one_logs_and_one_of_its_kind_are_taken(tmp_path, names):
    refuse(tmp_path / "new" / "one")
    for name in names:
        (tmp_path / name).write_text("")
    refuse(tmp_path)


@pytest.mark.parametrize(
    ("names", "named"),
    [(["mine.txt"], "mine.txt"), (["a.log", "b.csv"], "b.csv"), (["ours", "train.jsonl"], "train.jsonl"),
     (["a", "test.jsonl.gz"], "test.jsonl.gz")],
)  # fmt: skip
def test_files_of_another_kind_and_texts_above_all_are_named(tmp_path, names, named):
    for name in names:
        (tmp_path / name).write_text("")
    with pytest.raises(StorageError, match=f"holds {named} and is no run's folder; choose a new or empty one"):
        refuse(tmp_path)


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "texts.csv").write_text("")
    for place in (tmp_path / "texts.csv", tmp_path / "texts.csv" / "run"):
        with pytest.raises(StorageError, match=r"cannot be written: .*texts.csv is a file; allowed: a folder"):
            refuse(place)
