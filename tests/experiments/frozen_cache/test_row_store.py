"""The folder keeps within its bound, removes the oldest first and nothing in use, and has one writer a name."""

from __future__ import annotations

import os
import stat

import numpy as np
import pytest
import torch

from experiments.frozen_cache import row_store
from experiments.frozen_cache.row_file import file_size, write_rows
from experiments.frozen_cache.row_store import RowStore

SHAPE = (10, 250)
SIZE = file_size(SHAPE)


def put(store, key, shape=SHAPE):
    with store.writing(key, shape) as stream:
        assert stream is not None
        write_rows(stream, key, shape, [torch.ones(shape)])


def names(store):
    return sorted(path.name for path in store.folder.iterdir() if path.name != ".lock")


def test_files_are_for_their_owner_only_whatever_the_folder_was(tmp_path):
    (tmp_path / "frozen").mkdir(0o755)
    store = RowStore(tmp_path / "frozen", 10 * SIZE)
    before = os.umask(0)
    try:
        put(store, "a")
        with store.writing("b", SHAPE):
            modes = {stat.S_IMODE(path.stat().st_mode) for path in store.folder.iterdir()}
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    finally:
        os.umask(before)
    assert modes == {0o600}
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700


def test_the_file_used_longest_ago_is_removed_first_and_opening_is_use(tmp_path):
    store = RowStore(tmp_path, 3 * SIZE)
    for age, key in enumerate("abc"):
        put(store, key)
        os.utime(tmp_path / f"{key}.rows", ns=(age, age))
    store.open("a", SHAPE).close()
    put(store, "d")
    assert names(store) == ["a.rows", "c.rows", "d.rows"]
    put(store, "e", (25, 250))  # takes more than one file's room
    assert names(store) == ["e.rows"]


def test_a_file_in_use_is_not_removed_and_what_then_does_not_fit_is_refused(tmp_path):
    store = RowStore(tmp_path, 2 * SIZE)
    put(store, "a")
    put(store, "b")
    for age, key in enumerate("ab"):
        os.utime(tmp_path / f"{key}.rows", ns=(age, age))
    used = store.open("a", SHAPE)
    put(store, "c")
    assert names(store) == ["a.rows", "c.rows"]
    too = store.open("c", SHAPE)
    with pytest.raises(OSError, match="do not fit beside"), store.writing("d", SHAPE):
        pass
    assert names(store) == ["a.rows", "c.rows"]
    assert (used.take(np.arange(10)) == 1).all()
    used.close()
    too.close()
    put(store, "d")
    assert "d.rows" in names(store)


def test_an_opened_file_outlives_its_removal(tmp_path):
    store = RowStore(tmp_path, 2 * SIZE)
    put(store, "a")
    used = store.open("a", SHAPE)
    store.remove(used.path)
    assert names(store) == []
    assert (used.take(np.arange(10)) == 1).all()
    with pytest.raises(FileNotFoundError):
        store.open("a", SHAPE)


def test_a_name_has_one_writer_and_a_file_that_is_there_is_not_written_again(tmp_path):
    store = RowStore(tmp_path, 4 * SIZE)
    with store.writing("a", SHAPE) as stream:
        write_rows(stream, "a", SHAPE, [torch.ones(SHAPE)])
        with store.writing("a", SHAPE) as second:
            assert second is None
        with pytest.raises(FileNotFoundError):
            store.open("a", SHAPE)  # nothing half-written is seen
        assert store.is_progressing("a")
        os.utime(tmp_path / "a.part", (1, 1))
        assert not store.is_progressing("a")
    with store.writing("a", SHAPE) as again:
        assert again is None
    assert names(store) == ["a.rows"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, SystemExit])
def test_an_interrupted_writer_leaves_nothing(tmp_path, error):
    store = RowStore(tmp_path, 4 * SIZE)
    with pytest.raises(error), store.writing("a", SHAPE) as stream:
        stream.write(b"half")
        raise error
    assert names(store) == []


def test_a_writer_whose_file_does_not_reach_the_disk_leaves_nothing(tmp_path, monkeypatch):
    store = RowStore(tmp_path, 4 * SIZE)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("no")))
    with pytest.raises(OSError, match="no"):
        put(store, "a")
    assert names(store) == []


def test_what_killed_writers_left_is_removed_and_files_of_others_are_not(tmp_path):
    store = RowStore(tmp_path, 2 * SIZE)
    (tmp_path / "dead.part").write_bytes(bytes(SIZE))
    (tmp_path / "a.part").write_bytes(b"junk" * SIZE)
    (tmp_path / "notes.txt").write_text("mine")
    put(store, "a")
    assert names(store) == ["a.rows", "notes.txt"]
    assert (store.open("a", SHAPE).take(np.arange(10)) == 1).all()


def test_a_living_writers_room_counts_and_is_not_taken(tmp_path):
    store = RowStore(tmp_path, 2 * SIZE)
    put(store, "old")
    with store.writing("a", SHAPE) as one:
        put(store, "b")
        assert names(store) == ["a.part", "b.rows"]
        held = store.open("b", SHAPE)
        with pytest.raises(OSError, match="do not fit"), store.writing("c", SHAPE):
            pass
        held.close()
        write_rows(one, "a", SHAPE, [torch.ones(SHAPE)])
    assert names(store) == ["a.rows", "b.rows"]


def test_a_full_disk_is_found_before_anything_is_written(tmp_path, monkeypatch):
    store = RowStore(tmp_path, 10 * SIZE)
    monkeypatch.setattr(os, "posix_fallocate", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(OSError, match="No space left"), store.writing("a", SHAPE):
        pytest.fail("computed for nothing")
    assert names(store) == []


def test_another_users_folder_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setattr(row_store.os, "geteuid", lambda: 12345)
    with pytest.raises(PermissionError, match="another user"), RowStore(tmp_path, SIZE).writing("a", SHAPE):
        pass
