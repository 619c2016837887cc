"""A part is stored whole, and comes back as it was."""

from __future__ import annotations

from bench.records import add_environment, load, load_by_name, store


def test_what_is_not_there_is_a_part_without_rows(tmp_path):
    assert load(tmp_path / "a.json") == {"environment": [], "rows": []}
    assert load_by_name(tmp_path / "a.json") == {"environment": [], "rows": {}}


def test_a_part_comes_back_and_leaves_no_draft(tmp_path):
    part = {"environment": ["here"], "rows": {"a": {"x": 1}}, "command": "c"}
    store(tmp_path / "new" / "a.json", part)
    assert load_by_name(tmp_path / "new" / "a.json") == part
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.json"]


def test_an_environment_is_noted_once():
    part = {"environment": ["there"], "rows": []}
    for _ in range(2):
        add_environment(part, "here")
    assert part["environment"] == ["there", "here"]
