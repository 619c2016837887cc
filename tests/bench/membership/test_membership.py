"""The membership attack finds members where nothing protects them, none where there are none, and noise left out."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr, ndtri
from sklearn.metrics import roc_auc_score

import bench.membership.__main__ as membership
from bench.membership.__main__ import ARMS, DESIGN, measure, report
from bench.membership.candidates import Candidates, all_sequences, candidates_of
from bench.membership.design import DELTA, Arm, Design, config_of
from bench.membership.rows import FPR, Repetition, control_row, null_row
from bench.membership.runs import _only, train
from bench.membership.scores import (
    _chance,
    above,
    allowed,
    allowed_by_all,
    attacked,
    best_guess,
    epsilons_of,
    exceeded,
    roc,
)
from experiments import runs
from experiments.display import RoundProgress
from fl_core import rounds
from fl_core.privacy.ledger import read_ledger
from fl_core.privacy.rdp import ORDERS
from secagg.errors import SottoError

TINY = Design(
    data="topics",
    users=12,
    sequences=10,
    shortest=8,
    overrides={
        "lora": {"rank": 4, "alpha": 8.0, "targets": ["c_attn", "c_proj", "c_fc"], "blocks": [-1]},
        "federation": {"rounds": 30, "sample_rate": 0.25},
        "data": {"test_sequences": 20},
        "server": {"optimizer": "adam"},
        "engine": {"eval_every": 30, "checkpoint_every": 5, "threads": 1},
        "simulation": {"noise": "aggregate"},
    },
    units={"example": {}, "client": {"client": {"steps": 1, "batch_size": 16, "learning_rate": 1.0}}},
)
PRIVATE = Arm("private", "example", 0.5, 0.003)
PLANTED = Arm("planted", "example", 0.5, 0.04)  # claims epsilon 0.5, and its noise is left out


@pytest.fixture(scope="module")
def topics():
    return all_sequences(config_of(TINY, PRIVATE, 1))


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


def test_candidates_are_alike_for_both_units_and_a_users_coin_is_one(topics):
    by_record, by_user = (candidates_of(topics, TINY, unit, 3) for unit in ("example", "client"))
    assert np.array_equal(by_record.rows, by_user.rows)
    assert np.array_equal(topics.ids[by_record.rows], by_record.ids)
    assert len(np.unique(by_record.ids, axis=0)) == len(by_record.rows) == 120
    assert (topics.lengths[by_record.rows] >= 8).all()
    for user in range(12):
        own = by_user.users == user
        assert own.sum() == 10
        assert len(set(topics.users[by_user.rows[own]])) == 1
        assert len(set(by_user.inside[own])) == 1
    assert any(0 < by_record.inside[by_record.users == user].sum() < 10 for user in range(12))
    assert not np.array_equal(candidates_of(topics, TINY, "example", 4).rows, by_record.rows)


def test_coins_are_fair(topics):
    inside = [candidates_of(topics, TINY, "example", seed).inside for seed in range(50)]
    assert abs(np.concatenate(inside).mean() - 0.5) < 4 * 0.5 / math.sqrt(50 * 120)
    together = np.mean(inside, axis=0)  # no candidate is rather in than others
    assert together.min() > 0.15
    assert together.max() < 0.85


def test_too_few_users_are_a_sentence(topics):
    with pytest.raises(
        SottoError, match="2000 users with 10 sequences are wanted, but .* have so many; allowed: up to"
    ):
        candidates_of(topics, Design("topics", 2000, 10, 8, {}, {}), "example", 1)


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


def repetition(after, inside, users=20, own=5, seed=0):
    """Made up: losses before are noise, and `after` is taken off."""
    generator = np.random.default_rng(seed)
    before = generator.normal(5, 1, users * own)
    everyone = np.repeat(np.arange(users), own)
    candidates = Candidates(np.arange(users * own), everyone, inside, np.zeros((0, 2), np.int32), np.zeros((0, 2)))
    return Repetition(seed, candidates, before, before - after, {}, None)


def test_the_null_rows_hold_for_a_memorised_model_and_fail_where_coins_and_losses_are_tied():
    inside = np.random.default_rng(1).random(100) < 0.5
    arm = Arm("free", "example", None, 0.1)
    fine = null_row(arm, [repetition(np.where(inside, 3.0, 0.1), inside)])
    assert fine["violations"] == []
    assert fine["tried"] == 2
    tied = repetition(np.zeros(100), inside)
    biased = Repetition(0, tied.candidates, tied.before - 3 * inside, tied.after, {}, None)  # members are easier text
    found = null_row(arm, [biased])["violations"]
    assert [text.partition(":")[0] for text in found] == ["loss of the public base"]


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=40))
def test_the_area_is_scikit_learns_ties_included(pairs):
    scores, inside = (np.array(column) for column in zip(*pairs, strict=True))
    if inside.all() or not inside.any():
        return
    fpr, tpr = roc(scores.astype(float), inside)
    assert np.trapezoid(tpr, fpr) == pytest.approx(roc_auc_score(inside, scores))
    twice = roc(np.repeat(scores, 2).astype(float), np.repeat(inside, 2))
    weighted = roc(scores.astype(float), inside, np.full(len(scores), 2.0))
    assert np.allclose(twice, weighted)


def test_an_attack_says_what_it_cannot_see():
    generator = np.random.default_rng(0)
    inside = np.arange(400) % 2 == 0
    found = attacked(generator.normal(size=400) + 2 * inside, inside, np.arange(400), 1e-5)
    assert found.auc == pytest.approx(ndtr(2 / math.sqrt(2)), abs=0.04)
    assert found.auc_ci[0] < found.auc < found.auc_ci[1]
    assert found.tpr["0.01"] == pytest.approx(ndtr(2 + ndtri(0.01)), abs=0.15)
    assert found.tpr["0.001"] is None
    assert found.tpr_ci["0.001"] is None
    assert 0 < found.epsilon_shown < 10.6  # what a Gaussian mechanism with mu 2 has at this delta
    assert attacked(generator.normal(size=400), inside, np.arange(400)).epsilon_shown is None


def test_few_users_are_resampled_until_there_are_both_and_one_kind_alone_is_a_sentence():
    found = attacked(np.arange(4.0), np.array([True, False, False, False]), np.arange(4))
    assert np.isfinite([found.auc, *found.auc_ci, *found.null_ci]).all()
    with pytest.raises(SottoError, match="4 of 4 candidates are members; allowed: some and not all"):
        attacked(np.arange(4.0), np.ones(4, bool), np.arange(4))


@given(st.floats(0, 12), st.floats(0, 0.1))
def test_a_bound_is_met_by_randomised_response_and_kept_by_guessing(epsilon, delta):
    at = 1 / (1 + math.exp(epsilon))  # the false-positive rate of epsilon-DP randomised response
    assert allowed(np.array([at]), epsilon, 0.0)[0] == pytest.approx(1 - at)
    bound = allowed(FPR, epsilon, delta)
    assert (bound >= FPR - 1e-12).all()
    assert (np.diff(bound) >= -1e-12).all()
    assert allowed(np.array([0.0]), epsilon, delta)[0] == pytest.approx(delta)
    fine = np.linspace(0, 1, 100_001)
    closed = (1 + (math.exp(epsilon) - 1) / (math.exp(epsilon) + 1)) / 2
    assert best_guess(fine, allowed(fine, epsilon, 0.0)) == pytest.approx(closed, abs=1e-4)


@pytest.mark.parametrize("z", [0.5, 1.0, 3.0])
def test_the_ledgers_curve_is_above_the_exact_one_of_a_gaussian_mechanism_and_not_far(z):
    bound = allowed_by_all(FPR, epsilons_of(ORDERS / (2 * z**2)))
    exact = ndtr(ndtri(FPR) + 1 / z)
    assert (bound >= exact - 1e-9).all()
    assert bound[np.searchsorted(FPR, 0.01)] < min(1, 6 * ndtr(ndtri(0.01) + 1 / z))
    assert (allowed_by_all(FPR, epsilons_of(np.full(len(ORDERS), np.inf))) == 1).all()


def responses(generator, m, epsilon):
    """Randomised response: each coin told rightly with the probability that epsilon allows; scores are distinct."""
    inside = generator.random(m) < 0.5
    told = np.where(generator.random(m) < 1 / (1 + math.exp(-epsilon)), inside, ~inside)
    return told + 0.1 * generator.random(m), inside


def test_what_keeps_to_its_epsilon_is_accused_no_more_often_than_was_said():
    generator = np.random.default_rng(5)
    accused = sum(bool(exceeded(*responses(generator, 300, 1.0), 1.0, 0.0)) for _ in range(150))
    assert accused <= 7  # 1.5 expected at most; more than 7 has probability 2e-4


def test_what_has_twice_its_epsilon_is_accused():
    generator = np.random.default_rng(6)
    found = [exceeded(*responses(generator, 2000, 2.0), 1.0, 1e-5) for _ in range(5)]
    assert all({"member", "no member"} == {one["guess"] for one in some} for some in found)


def normal_scores(generator, m, z):
    """Scores of a Gaussian mechanism with sensitivity 1 and deviation `z`, each candidate with noise of its own."""
    inside = generator.random(m) < 0.5
    return generator.normal(size=m) + inside / z, inside


def test_a_curve_is_above_its_ledgers_only_if_there_was_less_noise():
    generator = np.random.default_rng(7)
    pairs = epsilons_of(ORDERS / 2)  # of z = 1: epsilon 4.7 at 1e-5
    assert not any(above(*normal_scores(generator, 1000, 1.0), pairs) for _ in range(40))
    found = [above(*normal_scores(generator, 1000, 0.3), pairs) for _ in range(5)]
    assert all({"member", "no member"} == {one["guess"] for one in some} for some in found)
    assert all(one["least"] > one["bound"] > one["most"] for some in found for one in some)
    assert not exceeded(*normal_scores(generator, 1000, 0.3), 4.7, 1e-5)  # which is why there are both


def test_a_control_is_caught_by_a_ledger_of_noise_that_it_did_not_have(private, folder):
    contents = read_ledger(folder / "runs" / "private@1" / "ledger.jsonl")
    inside = np.random.default_rng(1).random(100) < 0.5
    free, claim = Arm("free", "example", None, 0.1), replace(repetition(np.zeros(100), inside), contents=contents)
    memorised = repetition(np.where(inside, 3.0, 0.1), inside)
    row = control_row(free, [memorised], PRIVATE, [claim])
    assert row["caught"]
    assert any("the ledger allows" in text for text in row["says"])
    assert not control_row(free, [repetition(np.zeros(100), inside)], PRIVATE, [claim])["caught"]


def test_the_probability_is_the_binomials_tail_and_grows_with_delta():
    assert _chance(100, 10, 10, math.log(3), 0.0) == pytest.approx(0.75**10)
    assert _chance(100, 10, 0, 1.0, 0.1) == 1.0
    assert _chance(100, 10, 10, math.log(3), 1e-5) > 0.75**10
    # Alpha by hand: the largest of P(10 - i <= X < 10) / i, X binomial of 10 with 1/2.
    alpha = max(sum(math.comb(10, x) for x in range(10 - i, 10)) / 1024 / i for i in range(1, 11))
    assert _chance(100, 10, 10, 0.0, 1e-3) == pytest.approx(2**-10 + 2 * 100 * 1e-3 * alpha)


def test_missing_posts_are_a_sentence_and_exit_code_2(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SOTTO_DATA", str(tmp_path))
    assert membership.main(["--out", str(tmp_path / "out"), "--seeds", "1"]) == 2
    assert capsys.readouterr().err.startswith("error: data set stackoverflow: ")


def test_every_arm_has_a_configuration_and_all_share_data_and_rounds():
    configs = [config_of(DESIGN, arm, 1) for arm in ARMS]
    assert len({(c.federation, c.data, c.lora) for c in map(_hashable, configs)}) == 1
    assert all(c.privacy.delta == DELTA and c.privacy.insecure_seed is None for c in configs)


def _hashable(config):
    return SimpleNamespace(federation=config.federation, data=repr(config.data), lora=repr(config.lora))
