"""Repetitions become one arm: its mean, its spread, and the share of the non-private gain that it keeps."""

from __future__ import annotations

import pytest

from experiments.arms import Arm, arms_of, by_clients, chosen_runs, gain_kept, trust_points
from secagg.errors import SottoError
from tests.experiments.stored_run import run


def test_repetitions_are_one_arm_and_other_names_are_their_own():
    arms = arms_of([run("a@1", 0.2), run("b", 0.3), run("a@2", 0.3), run("c.x", 0.1)])
    assert [(arm.name, len(arm.runs)) for arm in arms] == [("a", 2), ("b", 1), ("c.x", 1)]


def test_an_epsilon_in_a_name_is_no_repetition():
    names = [arm.name for arm in arms_of([run("eps0.5", 0.1), run("eps0.25@1", 0.1), run("eps0.25@2", 0.1)])]
    assert names == ["eps0.5", "eps0.25"]


def test_some_runs_are_chosen_by_their_names_with_or_without_the_number():
    runs = [run("a@1", 0.2), run("a@2", 0.3), run("b@1", 0.1), run("c", 0.1)]

    def names(only):
        return [name for name, _, _ in chosen_runs(runs, only)]

    assert names([]) == ["a@1", "a@2", "b@1", "c"]
    assert names(["a", "c"]) == ["a@1", "a@2", "c"]
    assert names(["a@2"]) == ["a@2"]
    with pytest.raises(SottoError, match="no run is called d; allowed: a, b, c"):
        chosen_runs(runs, ["d"])


def test_two_runs_of_one_name_are_not_taken_for_repetitions():
    with pytest.raises(SottoError, match="two runs are called a@1"):
        chosen_runs([run("a@1", 0.2), run("a@1", 0.3)], [])
    assert len(chosen_runs([run("a", 0.2), run("a", 0.3), run("b", 0.1)], ["b"])) == 1


def test_mean_and_deviation_are_those_of_the_runs():
    arm = Arm("a", (run("a@1", 0.2), run("a@2", 0.3), run("a@3", 0.4)))
    assert arm.mean("accuracy_after") == pytest.approx(0.3)
    assert arm.deviation("accuracy_after") == pytest.approx(0.1)
    assert Arm("b", (run("b", 0.2),)).deviation("accuracy_after") is None


def test_another_depth_of_the_adapter_is_another_setting():
    free, own = run("none", 0.2, "none"), run("own", 0.15)
    free[2]["config"]["lora"]["blocks"] = [-1]
    arms = arms_of([free, own])
    assert gain_kept(arms[1], arms) is None
    own[2]["config"]["lora"]["blocks"] = [-1]
    assert gain_kept(arms[1], arms) == pytest.approx(0.5)


def test_the_gain_kept_is_measured_against_the_run_without_privacy_of_the_same_setting():
    arms = arms_of([run("none", 0.2, "none"), run("own", 0.17), run("other", 0.5, clients=100)])
    assert gain_kept(arms[0], arms) == pytest.approx(1.0)
    assert gain_kept(arms[1], arms) == pytest.approx(0.7)
    assert gain_kept(arms[2], arms) is None


def test_no_gain_is_no_share():
    arms = arms_of([run("none", 0.1, "none"), run("own", 0.17)])
    assert gain_kept(arms[1], arms) is None


def test_arms_are_divided_by_their_clients_fewest_first():
    arms = arms_of([run("a", 0.2), run("b", 0.2, clients=100), run("c", 0.2)])
    assert {clients: [arm.name for arm in some] for clients, some in by_clients(arms).items()} == {
        100: ["b"],
        1000: ["a", "c"],
    }
    assert list(by_clients(arms)) == [100, 1000]


def test_points_of_a_trust_model_are_by_epsilon_and_leave_out_arms_that_asked_for_none():
    arms = arms_of(
        [
            run("a@1", 0.2),
            run("a@2", 0.4),
            run("b", 0.1, epsilon=2.0),
            run("z", 0.3, epsilon=None),
            run("l", 0.1, "local"),
        ]
    )
    assert trust_points(arms, "distributed") == [
        (2.0, pytest.approx(0.1), 0.0),
        (8.0, pytest.approx(0.3), pytest.approx(0.1414, abs=1e-4)),
    ]
