"""The page on reliability is what the recorded results give, and shows what did not hold."""

from __future__ import annotations

import copy
import json
import re

import pytest

import bench.reliability.__main__ as reliability
from bench.reliability.__main__ import CHECKS, PAGE
from bench.reliability.page import reliability_page
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


def test_what_could_not_be_run_is_said_to_be_so(parts):
    without = copy.deepcopy(parts)
    without["crashes"]["rows"]["power-cut"] = {"not_run": "needs root, to mount a file system"}
    without["variance"]["engines"]["ray"] = {"not_run": "Ray is not installed"}
    page = reliability_page(without)
    assert "| SIGKILL, and the disk loses what was not synced | not run: needs root, to mount a file system |" in page
    assert "| ray |  |  |  | not run: Ray is not installed |" in page
    assert "| 440 of 440 survived |" in page


def test_the_fuzzing_section_names_the_commands_of_all_its_rows(parts):
    rows = {
        name: {**row, "command": f"python -m bench.fuzz --out DIR --surfaces {name} --tries {tries} --seed 1"}
        for (name, row), tries in zip(list(parts["fuzz"]["rows"].items())[:4], (1, 1, 0.5, 1), strict=True)
    }
    odd = list(rows)[2]
    page = reliability_page({**parts, "fuzz": {**parts["fuzz"], "rows": rows}})
    command = "python -m bench.fuzz --out DIR"
    assert f"Commands: `{command} --tries 1 --seed 1`, then `{command} --surfaces {odd} --tries 0.5 --seed 1`." in page
