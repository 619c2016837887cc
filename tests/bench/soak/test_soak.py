"""The soak finds planted leaks and a wrong sum, and finds none in the product."""

from __future__ import annotations

import math

import pytest

import bench.soak.__main__ as soak
from bench.soak.figure import curves_of, draw
from bench.soak.page import soak_page
from bench.soak.verdict import Limits, assess
from tests.bench.processes import found_in
from tests.bench.soak.made_up import series


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What the soak says of each planted fault, and of the product as it is."""
    return found_in("tests.bench.soak.plants", tmp_path_factory.mktemp("soak"))


def test_a_run_of_the_product_as_it_is_stays_flat(found):
    assert found["clean"]["problems"] == []
    assert found["clean"]["openings"] == found["clean"]["rounds_asked"]
    assert found["clean"]["files"]["bytes_a_round"]["ledger.jsonl"] > 0


@pytest.mark.parametrize(
    ("plant", "says"),
    [("descriptor", "run: descriptors grew from"), ("memory", "run: uss grow by")],
)
def test_a_planted_leak_is_found_and_no_other(found, plant, says):
    assert [problem[: len(says)] for problem in found[plant]["problems"]] == [says]


def test_clients_and_links_that_fail_break_nothing(found):
    row = found["clients"]
    assert row["problems"] == []
    assert row["opened"] > 0
    assert sum(row["harm"].values()) > 0
    assert row["clients_in_a_sum"]["least"] >= 3


def test_a_sum_that_is_wrong_by_one_is_found(found):
    assert any("the opened sum is not that of its" in problem for problem in found["wrong sum"]["problems"])


def test_the_page_shows_limits_figures_and_what_did_not_hold(tmp_path):
    figures = assess(series(), Limits())
    figures.pop("problems")
    grown = dict.fromkeys(("ledger.jsonl", "metrics.jsonl", "tensorboard", "checkpoints", "all"), 1.5)
    row = {
        "command": "python -m bench.soak --out DIR --kinds rounds",
        "rounds_asked": 600,
        "rounds_watched": 595,
        "seconds": 10.0,
        "openings": 590,
        "refused": 5,
        "sentences": ["round N: too few"],
        "files": {"bytes_a_round": grown, "files": 6, "bytes": 100},
        "processes": {"run": figures},
        "problems": ["run: something grew"],
        "curves": curves_of(series()),
    }
    page = soak_page({"environment": ["here"], "rows": {"rounds": row}})
    assert "| run | 120 |" in page
    assert "* run: something grew" in page
    assert "595 of 600 rounds" in page
    draw({"rounds": row}, tmp_path / "soak.png")
    assert (tmp_path / "soak.png").stat().st_size > 1000
    assert all(len(curve["seconds"]) <= 241 for curve in row["curves"].values())


@pytest.mark.parametrize("wrong", [["--rounds", "3"], ["--minutes", "0.5"], ["--minutes", "nan"], ["--kinds", "x"]])
def test_bad_arguments_end_with_code_2(wrong, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        soak.main(["--out", str(tmp_path), *wrong])
    assert ended.value.code == 2
    assert "allowed" in capsys.readouterr().err or wrong[0] == "--kinds"


def test_limits_are_what_the_page_says_is_flat():
    assert all(limits.bytes_a_round < math.inf for limits in soak.LIMITS.values())
    assert soak.LIMITS["rounds-smpc"].bytes_a_round == 1024
