"""The page on reliability is what the recorded results give, and shows what did not hold."""

from __future__ import annotations

import copy
import json
import re

import pytest

import bench.reliability.__main__ as reliability
from bench.reliability.__main__ import CHECKS, PAGE, reliability_page
from bench.reliability.sections import SECTIONS


@pytest.fixture(scope="module")
def parts():
    return {name: json.loads((CHECKS / f"{name}.json").read_text()) for name in SECTIONS}


def test_the_committed_page_is_what_the_results_give():
    assert reliability.main(["--check"]) == 0


def test_every_recorded_result_has_a_section_and_what_the_page_links_is_there(parts):
    assert {path.stem for path in CHECKS.glob("*.json")} == set(SECTIONS)
    for target in re.findall(r"\]\(([^)#]+)", reliability_page(parts)):
        assert (PAGE.parent / target).exists(), target


def test_a_failure_in_a_result_is_a_failure_on_the_page(parts, tmp_path, monkeypatch, capsys):
    broken = copy.deepcopy(parts)
    first = next(iter(broken["fuzz"]["rows"].values()))
    first["violations"].append({"what": "a traceback"})
    next(row for row in broken["attacks"]["rows"].values() if not row["document"])["caught"] = False
    honest = next(row for row in broken["audit"]["rows"] if row["kind"] == "honest")
    honest["bounds"][0] = honest["claimed"] + 1
    broken["variance"]["rows"][0]["holds"] = False
    page, before = reliability_page(broken), reliability_page(parts)
    for wrong, right in (
        ("1 not refused in a sentence", "0 not refused in a sentence"),
        ("51 of 52 caught", "52 of 52 caught"),
        ("| 1 of 695 |", "| 0 of 695 |"),
        ("| 1 of 220 |", "| 0 of 220 |"),
    ):
        assert wrong in page
        assert right in before
    monkeypatch.setattr(reliability, "PAGE", tmp_path / "page.md")
    (tmp_path / "page.md").write_text(page)
    assert reliability.main(["--check"]) == 1
    assert "run python -m bench.reliability" in capsys.readouterr().err
