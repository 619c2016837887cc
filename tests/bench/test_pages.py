"""Every recorded page is what its command makes of the recorded figures now."""

from __future__ import annotations

import pytest

from bench import pages
from bench.kernels_cpu.__main__ import PARTS
from bench.kernels_cpu.page import page as kernels_page
from bench.pages import PAGES, main
from bench.places import RESULTS
from bench.records import load, store


@pytest.mark.parametrize("name", PAGES)
def test_a_recorded_page_is_what_the_recorded_figures_give(name):
    path = RESULTS / f"{name}.json"
    assert path.with_suffix(".md").read_text() == PAGES[name](load(path))


def test_the_recorded_table_of_the_private_step_is_what_its_parts_give():
    folder = RESULTS / "kernels_cpu"
    assert (folder / "table.md").read_text() == kernels_page({part: load(folder / f"{part}.json") for part in PARTS})


def test_a_page_that_is_another_is_named_by_a_check_and_written_without_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pages, "RESULTS", tmp_path)
    monkeypatch.setattr(pages, "PAGES", {"one": lambda part: f"{part['rows']}"})
    store(tmp_path / "one.json", {"environment": [], "rows": [1]})
    (tmp_path / "one.md").write_text("[2]")
    assert main(["--check"]) == 1
    assert "one.md is not what the figures give; run python -m bench.pages" in capsys.readouterr().err
    assert main([]) == 0
    assert (tmp_path / "one.md").read_text() == "[1]"
    assert main(["--check"]) == 0
