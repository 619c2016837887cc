"""Where data sets are looked for."""

from __future__ import annotations

from experiments.datasets.data_root import data_root


def test_without_the_variable_the_users_cache_is_the_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("SOTTO_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data_root() == (tmp_path / ".cache" / "sotto" / "data", "cache")
