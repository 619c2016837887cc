"""What is made of private posts is kept in folders that their owner alone can enter."""

from __future__ import annotations

import stat

import pytest

from experiments.cache_root import private_folder
from secagg.errors import SottoError


def test_a_private_folder_is_for_its_owner_whatever_it_was(tmp_path, monkeypatch):
    monkeypatch.setenv("SOTTO_CACHE", str(tmp_path))
    assert stat.S_IMODE(private_folder("new").stat().st_mode) == 0o700
    (tmp_path / "old").mkdir(0o755)
    assert private_folder("old") == tmp_path / "old"
    assert stat.S_IMODE((tmp_path / "old").stat().st_mode) == 0o700


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SOTTO_CACHE", str(tmp_path / "file"))
    with pytest.raises(SottoError, match="set SOTTO_CACHE to a folder of your own"):
        private_folder("new")
