"""The crash tests find planted faults, find none in the product, and say what they could not run."""

from __future__ import annotations

import json
import random

import pytest

import bench.crashes.__main__ as crashes
from bench.crashes.checks import journal_faults, same_noise
from bench.crashes.disk import why_no_disk
from bench.crashes.faults import aimed
from bench.crashes.hooks import PHASES, POINTS
from bench.crashes.page import _WHERE, crashes_page, summary_of
from tests.bench.processes import found_in, in_a_process


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What the crash tests say of each planted fault, and of the product as it is."""
    return found_in("tests.bench.crashes.plants", tmp_path_factory.mktemp("crashes"))


@pytest.mark.parametrize(
    ("plant", "says"),
    [
        ("entry after opening", "was opened 1 times and the ledger counts 0"),
        ("noise from the start again", "was opened with the noise of round"),
        ("stream without openings", "was opened with the stream of round"),
        ("checkpoint in place", "safetensors is damaged"),
        ("optimiser forgotten", "every round was opened once, and"),
        ("lock not taken", "a second process was not refused with the lock's sentence"),
    ],
)
def test_a_planted_fault_is_found(found, plant, says):
    assert any(says in sentence for sentence in found[plant]), found[plant]


def test_noise_that_comes_again_on_other_data_is_told_from_a_repetition(found):
    assert any("different data" in sentence for sentence in found["noise from the start again"])


def test_kills_of_the_product_as_it_is_break_nothing(found):
    clean = found["clean"]
    assert clean["violations"] == []
    assert clean["tried"] >= 10
    assert clean["ended"] == clean["runs"]
    assert clean["survived"] == clean["tried"]


@pytest.mark.skipif(why_no_disk() is not None, reason=f"{why_no_disk()}")
def test_a_power_cut_finds_a_file_that_was_not_synced_and_none_in_the_product(found):
    assert any("config.yaml is damaged" in sentence for sentence in found["power"]["planted"])
    assert found["power"]["clean"] == []


def test_an_aim_is_a_point_and_one_that_exists_once_is_aimed_at_its_first_call():
    draws = [aimed(random.Random(seed)) for seed in range(300)]
    assert {kill.point for kill in draws} == set(POINTS)
    assert all(kill.number == 1 for kill in draws if kill.point.endswith(("config", "adapter", "summary")))
    assert all("fsync" in kill.point for kill in draws if kill.how == "torn")


def opened(round_, attempt, noise="n", total="t", stream=None):
    facts = {"kind": "opened", "run": "r", "round": round_, "attempt": attempt, "noise": noise, "total": total}
    return {**facts, "stream": stream or f"{round_}/{attempt}"}


def write_log(path, *lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_equal_noise_or_streams_are_named_with_whether_the_data_differ(tmp_path):
    log = write_log(tmp_path / "log", opened(1, 0, "a"), opened(2, 0, "b"), {"kind": "ended", "how": "finished"})
    assert same_noise(log) == []
    log = write_log(log, opened(1, 0, "a"), opened(1, 3, "a"), opened(2, 0, "a", "u"))
    assert same_noise(log) == [
        "round 1 attempt 3 was opened with the noise of round 1 attempt 0 on equal data",
        "round 2 attempt 0 was opened with the noise of round 1 attempt 0 on different data",
    ]
    log = write_log(log, opened(1, 0, "", stream="s"), opened(2, 0, "", stream="s"))
    assert same_noise(log) == ["round 2 attempt 0 was opened with the stream of round 1 attempt 0 on equal data"]


def test_a_journal_that_opens_twice_or_forgets_is_named(tmp_path):
    log = write_log(tmp_path / "log", opened(1, 0), opened(2, 0))
    (tmp_path / "party-1").mkdir()
    entry = {"kind": "opened", "run": "r"}
    lines = [
        {**entry, "round": 1, "attempt": 0},
        {"kind": "refused", "reason": "x"},
        {**entry, "round": 2, "attempt": 0},
    ]
    journal = write_log(tmp_path / "party-1" / "journal", *lines)
    assert journal_faults(journal, log) == []
    write_log(journal, *lines[:2], lines[0])
    assert journal_faults(journal, log) == [
        "party-1 opened round 1 attempt 0 2 times",
        "party-1 has no entry of round 2 attempt 0",
    ]


def test_a_kind_that_needs_more_than_there_is_is_reported_as_not_run(tmp_path, monkeypatch):
    monkeypatch.setattr(crashes, "why_no_disk", lambda: "needs root, to mount a file system")
    monkeypatch.setattr(crashes, "warm_up", lambda: None)
    assert crashes.main(["--out", str(tmp_path), "--kinds", "disk-full", "power-cut"]) == 0
    part = json.loads((tmp_path / "crashes.json").read_text())
    assert part["rows"]["power-cut"] == {"not_run": "needs root, to mount a file system"}
    assert "Not run: the run folder's disk is full" in (tmp_path / "crashes.md").read_text()


@pytest.mark.parametrize("seed", ["27", "27/flood/3", ""])
def test_a_seed_that_is_no_trials_is_a_sentence_and_exit_code_2(tmp_path, capsys, seed):
    with pytest.raises(SystemExit) as ended:
        crashes.main(["--out", str(tmp_path), "--only", seed])
    assert ended.value.code == 2
    assert "allowed: a trial's seed, such as 27/run/3" in capsys.readouterr().err


def test_a_trial_that_is_repeated_is_told_and_kept_nowhere(tmp_path):
    done = in_a_process(
        "bench.crashes", "--out", str(tmp_path / "out"), "--only", "5/run/0", "--scratch", str(tmp_path)
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["seed"] == "5/run/0"
    assert list(tmp_path.iterdir()) == []


def test_a_page_counts_what_held_and_shows_what_repeats_what_did_not():
    fault = {"life": 1, "phase": "opened", "point": "before opened", "number": 2, "violations": []}
    trial = {
        "kind": "run", "seed": "5/run/3", "faults": [fault, {**fault, "violations": ["it broke"]}], "lives": 3,
        "violations": ["it broke"], "sentences": [], "ended": True, "equal": False, "repeated": 2, "rivals": 1,
        "torn": 1,
    }  # fmt: skip
    row = summary_of([trial, {**trial, "faults": [fault], "violations": [], "equal": True, "repeated": 0}])
    assert (row["survived"], row["tried"], row["aimed"], row["resumed"], row["repeated_runs"]) == (2, 3, 3, 4, 1)
    assert row["where"] == {"opened": 3}
    page = crashes_page({"environment": ["here"], "rows": {"run": {**row, "command": "python -m bench.crashes"}}})
    assert "| SIGKILL to the run, aggregation in the clear | 2 / 3 |" in page
    assert "seed `5/run/3`" in page
    assert "it broke" in page


def test_every_phase_has_a_column():
    assert tuple(_WHERE) == PHASES
