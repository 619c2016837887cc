"""The benchmark of whole trainings: what it runs is what it says, and ratios are of the same round."""

from __future__ import annotations

import pytest

from bench import trainings
from bench.lora_step.shapes import TINY


@pytest.mark.parametrize("name", list(trainings.methods()))
def test_each_training_runs_and_the_private_ones_spend_what_was_asked_for_at_most(name, monkeypatch):
    monkeypatch.setattr(trainings, "RECORDS", 32)
    monkeypatch.setattr(trainings, "TOKENS", 6)
    monkeypatch.setattr(trainings.torch, "set_num_threads", lambda count: None)
    found = trainings.one(name, TINY, 2)
    assert found["seconds"] > 0
    if name == trainings.PEER:
        assert found["epsilon"] is None
    else:
        assert 0.5 < found["epsilon"] <= trainings.EPSILON * 1.01


def test_ratios_are_of_the_same_round_and_the_page_has_every_training():
    def runs(*seconds):
        return [{"seconds": s, "cpu_seconds": 2 * s, "peak_mib": 100 * s, "epsilon": 1.0} for s in seconds]

    rows = trainings.rows_of({trainings.PEER: runs(1.0, 2.0, 10.0), "PrivateTrainer": runs(2.0, 4.0, 5.0)})
    assert [row["seconds_ratio"] for row in rows] == [1.0, 2.0]
    page = trainings.page({"environment": ["here"], "command": "c", "what": "w", "rows": rows})
    assert "| PrivateTrainer | 4.000 | 2.00 | 2.00 | 400 | 2.00 | 1.00 | 3 |" in page


def test_a_missing_folder_is_a_sentence(capsys):
    with pytest.raises(SystemExit) as end:
        trainings.main([])
    assert end.value.code == 2
    assert "--out is missing" in capsys.readouterr().err
