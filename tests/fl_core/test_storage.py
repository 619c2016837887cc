"""Files are whole or as they were, locks hold, and a full disk is a sentence."""

from __future__ import annotations

import os

import pytest

from fl_core import storage
from fl_core.storage import StorageError, lock_folder, storage_errors, write_atomically


def test_a_lock_is_held_until_it_is_closed_and_makes_the_folder(tmp_path):
    lock = lock_folder(tmp_path / "new" / "run")
    with pytest.raises(StorageError, match="is in use by another run; wait for it or choose another --out"):
        lock_folder(tmp_path / "new" / "run")
    lock_folder(tmp_path / "new" / "other").close()
    lock.close()
    lock_folder(tmp_path / "new" / "run").close()


@pytest.mark.parametrize("broken", ["write", "fsync", "replace"])
def test_an_atomic_write_that_fails_leaves_the_old_content_and_no_litter(tmp_path, monkeypatch, broken):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    if broken == "write":
        monkeypatch.setattr(storage.Path, "open", full)
    else:
        monkeypatch.setattr(os, broken, full)
    with pytest.raises(StorageError, match="No space left on device; what was written before is intact"):
        write_atomically(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["file"]


def test_new_folders_are_on_the_disk_before_anything_is_in_them(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(storage, "sync_folder", synced.append)
    lock_folder(tmp_path / "runs" / "first").close()
    assert set(synced) == {tmp_path, tmp_path / "runs"}
    synced.clear()
    lock_folder(tmp_path / "runs" / "first").close()
    assert synced == []


def test_a_full_disk_is_a_sentence_on_a_real_full_disk(tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full on this system")
    full = open("/dev/full", "wb", buffering=0)  # noqa: SIM115 (closed below, its write must fail inside the block)
    with pytest.raises(StorageError, match="No space left on device"), storage_errors(tmp_path):
        full.write(b"x")
    full.close()
