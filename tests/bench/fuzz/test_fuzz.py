"""The fuzz tests find planted faults, find none in the product, and count every try."""

from __future__ import annotations

import json

import pytest

from bench.fuzz.__main__ import SURFACES, main
from bench.fuzz.page import fuzz_page
from secagg.wire import WireError
from tests.bench.processes import found_in, in_a_process


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What is said of each planted fault; in a process of its own, as it forks."""
    return found_in("tests.bench.fuzz.plants", tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize(
    ("plant", "says"),
    [
        ("a key that is missing", "KeyError"),
        ("a gibibyte", "MiB were needed for an input of"),
        ("more than there is", "MemoryError"),
        ("a hang", "did not end within 3 s"),
        ("a crash", "the process died of SIGSEGV"),
        ("an exit", "SystemExit"),
        ("two lines", "a character that may not be printed"),
        ("a long sentence", "a sentence of 5001 characters"),
        ("no place", "a sentence that names no place"),
        ("a part that is not checked", "a part that no client made was opened"),
        ("a ledger that is not checked", "a ledger that was changed was read"),
        ("a head that is not checked", "openings that the head stands for were lost or changed"),
        ("a digest that is not checked", "a checkpoint was read that no run wrote"),
    ],
)
def test_a_planted_fault_is_found(found, plant, says):
    assert any(says in violation["what"] for violation in found[plant]["violations"]), found[plant]


def test_tries_after_one_that_hangs_or_crashes_are_made_and_counted(found):
    for plant in ("a hang", "a crash"):
        tally = found[plant]
        assert tally["tried"] == 12
        assert tally["refused"] + tally["accepted"] + len(tally["violations"]) == 12
        assert len(tally["violations"]) == 2


def test_a_reader_that_refuses_in_a_sentence_has_no_violation(found):
    assert found["clean"]["violations"] == []
    assert found["clean"]["refused"] == found["clean"]["tried"] == 12


def test_the_product_has_no_violation_and_every_surface_is_counted(tmp_path):
    slow = {"posts", "adapter", "tokenizer", "base"}  # libraries that take seconds to load
    names = [name for name in SURFACES if name not in slow]
    done = in_a_process("bench.fuzz", "--out", str(tmp_path), "--tries", "0.002", "--surfaces", *names)
    part = json.loads((tmp_path / "fuzz.json").read_text())
    assert done.returncode == 0, [row["violations"] for row in part["rows"].values() if row["violations"]]
    assert list(part["rows"]) == names
    for row in part["rows"].values():
        assert row["tried"] == row["refused"] + row["accepted"] > 0
    assert "| sealed parts of clients | 200 |" in (tmp_path / "fuzz.md").read_text()


def test_a_page_shows_what_did_not_hold():
    row = {"what": "ledgers", "tried": 3, "refused": 1, "accepted": 1, "peak": 2**20, "slowest_s": 0.1,
           "seconds": 1.0, "command": "python -m bench.fuzz",
           "violations": [{"seed": "1/ledger/2", "what": "it was read"}]}  # fmt: skip
    page = fuzz_page({"environment": ["here"], "rows": {"ledger": row}})
    assert "3 inputs, 1 violations" in page
    assert "| ledgers | 3 | 1 | 1 | 1 | 1.0 MiB | 0.10 s |" in page
    assert "* seed `1/ledger/2`: it was read" in page


@pytest.mark.parametrize("seed", ["27", "27/nothing/3", ""])
def test_a_seed_that_is_no_trys_is_a_sentence_and_exit_code_2(capsys, seed):
    with pytest.raises(SystemExit) as ended:
        main(["--only", seed])
    assert ended.value.code == 2
    assert "allowed: a try's seed, such as 27/parts/3" in capsys.readouterr().err


def test_a_try_is_repeated_by_its_seed_with_all_that_it_says(capsys):
    with pytest.raises(WireError, match="not an encoding"):
        main(["--only", "27/specs/3"])
    assert "input: b" in capsys.readouterr().out
