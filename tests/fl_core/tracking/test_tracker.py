"""Services outside of the run folder are told what was released, and nothing else; their failures end no run."""

from __future__ import annotations

import logging
import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_core.engines import round_loop
from fl_core.run_folder import RunFolder
from fl_core.storage import StorageError
from fl_core.tracking import RunTracker, public, read_metrics, simulated
from fl_core.tracking.tracker import Outside
from tests.fl_core.tiny import run_tiny, tiny_config


class Told:
    """A tracker that remembers, and raises from round `fails` on."""

    def __init__(self, fails=None):
        self.rows, self.closed, self.fails = [], 0, fails

    def record(self, row):
        if self.fails is not None and row["round"] >= self.fails:
            raise RuntimeError("no route to host\nand more")
        self.rows.append(dict(row))

    def close(self):
        self.closed += 1


VALUES = st.one_of(
    st.floats(allow_nan=False), st.integers(), st.text(), st.booleans(), st.none(), st.lists(st.integers())
)


@given(st.dictionaries(st.text(), VALUES), st.dictionaries(st.text(), st.floats(allow_nan=False)))
def test_nothing_that_only_a_simulation_saw_and_no_text_is_public(row, seen):
    found = public(row | simulated(seen))
    assert not any(key.startswith("simulation/") for key in found)
    assert all(type(value) in (int, float) for value in found.values())
    assert "round" not in found


def test_scores_epsilons_and_counts_are_public():
    row = {
        "round": 3, "accuracy": 0.5, "whole/accuracy": 0.4, "epsilon_release": 1.0, "survivors": 7, "seconds": 0.5,
        "bytes_per_client": 100, "clip_norm": 0.9, "refused": 1, "message": "nothing was opened", "flag": True,
        "simulation/loss": 2.0, "whole/simulation/loss": 2.0, "other/loss": 2.0,
    }  # fmt: skip
    assert set(public(row)) == {
        "accuracy", "whole/accuracy", "epsilon_release", "survivors", "seconds", "bytes_per_client", "clip_norm",
        "refused",
    }  # fmt: skip


def test_a_run_tells_a_service_the_public_part_of_every_row(tmp_path, monkeypatch):
    told = Told()
    monkeypatch.setattr(round_loop, "outside_trackers", lambda config, folder, run: [Outside("fake", told)])
    run_tiny(tmp_path / "run", tiny_config())
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert any(key.startswith("simulation/") for row in rows for key in row)
    assert any("message" in row for row in rows)
    assert told.rows == [{"round": row["round"], **public(row)} for row in rows]
    assert not any("simulation" in key or isinstance(value, str) for row in told.rows for key, value in row.items())
    assert told.closed == 1


def test_what_a_message_source_saw_stays_in_the_run_folder_whatever_it_calls_it(tmp_path, monkeypatch):
    told = Told()
    monkeypatch.setattr(round_loop, "outside_trackers", lambda config, folder, run: [Outside("fake", told)])
    monkeypatch.setattr("fl_core.engines.local.LocalClients.row", lambda self: {"accuracy": 1234.5})
    run_tiny(tmp_path / "run", tiny_config("federation.rounds=1"))
    assert read_metrics(tmp_path / "run" / "metrics.jsonl")[1]["simulation/accuracy"] == 1234.5
    assert 1234.5 not in [value for row in told.rows for value in row.values()]


def test_a_service_that_fails_is_left_out_with_one_sentence_and_the_run_goes_on(tmp_path, monkeypatch, caplog):
    told = Told(fails=2)
    monkeypatch.setattr(round_loop, "outside_trackers", lambda config, folder, run: [Outside("Fake service", told)])
    with caplog.at_level(logging.WARNING, "fl_core.tracking"):
        ended, _ = run_tiny(tmp_path / "run", tiny_config())
    assert ended == "all rounds done"
    assert [row["round"] for row in told.rows] == [0, 1]
    assert [row["round"] for row in read_metrics(tmp_path / "run" / "metrics.jsonl")] == list(range(7))
    (record,) = caplog.records
    assert record.getMessage() == (
        "Fake service is left out from now on (no route to host); metrics.jsonl has every round"
    )
    assert told.closed == 1


def test_an_interruption_while_a_service_is_told_is_one():
    class Stopped(Told):
        def record(self, row):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Outside("fake", Stopped()).record({"round": 0})


def test_what_a_simulation_saw_is_readable_by_its_owner_only(tmp_path):
    before = os.umask(0o022)
    try:
        run_tiny(tmp_path, tiny_config("federation.rounds=2"))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "metrics.jsonl").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "tensorboard").stat().st_mode) == 0o700
    assert "simulation/" in (tmp_path / "metrics.jsonl").read_text()


def test_every_tracker_is_closed_although_one_cannot_be(tmp_path, monkeypatch):
    def broken(self):
        raise StorageError("tensorboard cannot be written")

    told = Told()
    with RunFolder(tmp_path / "run") as folder:
        tracker = RunTracker(folder, 0, [told])
        monkeypatch.setattr("fl_core.tracking.tensorboard.TensorBoard.close", broken)
        with pytest.raises(StorageError):
            tracker.close()
    assert told.closed == 1
