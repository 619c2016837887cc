"""The membership attack finds members where nothing protects them, none where there are none, and noise left out."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import bench.membership.__main__ as membership
from bench.membership.__main__ import ARMS, DESIGN, measure, report
from bench.membership.candidates import candidates_of
from bench.membership.design import DELTA, Arm, config_of
from bench.membership.rows import control_row
from bench.membership.runs import _only, train
from experiments import runs
from experiments.terminal_progress import RoundProgress
from fl_core import rounds
from fl_core.privacy.ledger import read_ledger
from secagg.errors import SottoError
from tests.bench.membership.made_up import PLANTED, PRIVATE, TINY, repetition


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("membership")


@pytest.fixture(scope="module")
def private(folder, topics):
    """The arm as it is, killed after ten rounds and gone on with."""

    class Killed(RoundProgress):
        def round(self, report):
            if report.round == 10:
                raise KeyboardInterrupt

    begun = folder / "runs" / "private@1"
    with pytest.raises(KeyboardInterrupt):
        train(
            config_of(TINY, PRIVATE, 1),
            topics,
            candidates_of(topics, TINY, "example", 1),
            begun,
            Killed(30, silent=True),
        )
    assert not (begun / "summary.json").exists()
    part = measure(TINY, [PRIVATE], [1], folder)
    assert len((begun / "metrics.jsonl").read_text().splitlines()) == 31  # untuned, and each round once
    return part


@pytest.fixture(scope="module")
def planted(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rounds, "draw_noise", lambda mechanism, std, length, source: np.zeros(length, np.int64))
        return measure(TINY, [PLANTED], [1], folder)


def test_noise_left_out_is_found_though_configuration_and_ledger_claim_it(planted, tmp_path, capsys):
    row = planted["rows"]["planted"]
    assert row["spent"] <= 0.5  # the ledger has no means to know
    assert row["attacks"]["calibrated"]["auc"] > 0.95
    assert row["attacks"]["calibrated"]["epsilon_shown"] > 0.5
    assert any("guesses 'member' were right, which epsilon 0.5 allows with probability" in v for v in row["violations"])
    assert any("at least, and the ledger allows" in v for v in row["violations"])
    assert any("a Gaussian mechanism with such guesses has epsilon" in v for v in row["violations"])
    assert report(planted, tmp_path, "the command") == 1
    assert "planted: calibrated: " in capsys.readouterr().err
    assert "## What did not hold" in (tmp_path / "membership.md").read_text()


def test_the_product_as_it_is_keeps_to_its_claim(private, planted, tmp_path):
    row = private["rows"]["private"]
    assert row["violations"] == []
    assert row["tried"] == 3  # two attacks and the ledger
    assert row["attacks"]["calibrated"]["auc"] < planted["rows"]["planted"]["attacks"]["calibrated"]["auc"] - 0.2
    assert report(private, tmp_path, "the command") == 0
    assert json.loads((tmp_path / "membership.json").read_text())["rows"]["private"]["spent"] == row["spent"]
    assert "`the command`" in (tmp_path / "membership.md").read_text()
    assert (tmp_path / "membership.png").stat().st_size > 10_000


def test_a_run_that_has_ended_is_not_run_again(private, folder, monkeypatch):
    monkeypatch.setattr(runs, "execute", lambda *_: pytest.fail("ran again"))
    again = measure(TINY, [PRIVATE], [1], folder)
    assert again["rows"] == private["rows"]


def test_a_folder_with_a_run_of_another_design_is_refused(private, folder, topics):
    progress, run = SimpleNamespace(), folder / "runs" / "private@1"
    candidates = candidates_of(topics, TINY, "example", 1)
    with pytest.raises(SottoError, match="another server.learning_rate; choose another --out"):
        train(config_of(TINY, Arm("private", "example", 0.5, 0.01), 1), topics, candidates, run, progress)
    with pytest.raises(SottoError, match="other candidates or coins; choose another --out"):
        train(config_of(TINY, PRIVATE, 1), topics, candidates_of(topics, TINY, "client", 1), run, progress)


def test_who_is_out_is_in_no_batch_and_still_counts_in_the_denominator(topics):
    for unit in ("example", "client"):
        candidates = candidates_of(topics, TINY, unit, 1)
        with _only(topics, candidates):
            task = runs.build_task(config_of(TINY, Arm("", unit, None, 0.1), 1))
        assert len(task.clients) == 12
        assert np.array_equal(np.sort(np.concatenate(task.clients)), np.sort(candidates.rows[candidates.inside]))
        assert task.records == 120 > candidates.inside.sum()
        batch = task.batch(task.clients[int(np.argmax([len(own) for own in task.clients]))])
        assert set(map(bytes, batch["input_ids"].numpy().astype(np.int32))) <= set(map(bytes, candidates.ids))
    assert runs.build_task.__module__ == "experiments.tasks"


def test_a_control_is_caught_by_a_ledger_of_noise_that_it_did_not_have(private, folder):
    contents = read_ledger(folder / "runs" / "private@1" / "ledger.jsonl")
    inside = np.random.default_rng(1).random(100) < 0.5
    free, claim = Arm("free", "example", None, 0.1), replace(repetition(np.zeros(100), inside), contents=contents)
    memorised = repetition(np.where(inside, 3.0, 0.1), inside)
    row = control_row(free, [memorised], PRIVATE, [claim])
    assert row["caught"]
    assert any("the ledger allows" in text for text in row["says"])
    assert not control_row(free, [repetition(np.zeros(100), inside)], PRIVATE, [claim])["caught"]


def test_missing_posts_are_a_sentence_and_exit_code_2(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SOTTO_DATA", str(tmp_path))
    assert membership.main(["--out", str(tmp_path / "out"), "--seeds", "1"]) == 2
    assert capsys.readouterr().err.startswith("error: data set stackoverflow: ")


def test_every_arm_has_a_configuration_and_all_share_data_and_rounds():
    configs = [config_of(DESIGN, arm, 1) for arm in ARMS]
    assert len({(c.federation, repr(c.data), repr(c.lora)) for c in configs}) == 1
    assert all(c.privacy.delta == DELTA and c.privacy.insecure_seed is None for c in configs)
