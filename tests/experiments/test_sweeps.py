"""Sweeps: every run is checked before the first starts, and repetitions differ by their own seed only."""

from __future__ import annotations

import pytest
import yaml

from experiments.sweeps import load_sweep
from fl_core.config import ConfigError


@pytest.fixture
def sweep(tmp_path):
    def write(**changes):
        (tmp_path / "base.yaml").write_text(yaml.safe_dump({"privacy": {"epsilon": 2}}))
        content = {"base": "base.yaml", "runs": {"a": ["privacy.epsilon=4"], "b": []}} | changes
        (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(content))
        return tmp_path / "sweep.yaml"

    return write


def test_runs_are_the_base_with_common_and_own_values(sweep):
    runs = load_sweep(sweep(common=["federation.rounds=7"]), [])
    assert [(name, config.privacy.epsilon, config.federation.rounds) for name, config in runs] == [
        ("a", 4.0, 7),
        ("b", 2.0, 7),
    ]


def test_repetitions_have_names_and_initial_adapters_of_their_own_and_come_after_all_firsts(sweep):
    runs = load_sweep(sweep(repeats=3), [])
    assert [(name, config.lora.seed) for name, config in runs] == [
        (f"{name}@{k}", k - 1) for k in (1, 2, 3) for name in "ab"
    ]


@pytest.mark.parametrize(
    ("only", "chosen"), [(["b"], ["b@1", "b@2"]), (["a@2"], ["a@2"]), ([], ["a@1", "b@1", "a@2", "b@2"])]
)
def test_a_run_is_chosen_by_its_name_with_all_repetitions_or_with_one(sweep, only, chosen):
    assert [name for name, _ in load_sweep(sweep(repeats=2), only)] == chosen


@pytest.mark.parametrize(
    ("changes", "only", "sentence"),
    [
        ({"repeats": 0}, [], "repeats is 0; allowed: 1 to 10000"),
        ({"repeats": "two"}, [], "repeats is two; allowed: 1 to 10000"),
        ({"runs": {}}, [], "a sweep needs base"),
        ({"runs": {"a": "privacy.epsilon=1"}}, [], "runs.a must be a list of key=value"),
        ({"runs": {"a": ["privacy.epsilo=1"]}}, [], "unknown key privacy.epsilo"),
        ({}, ["c"], "no run is called c; allowed: a, b"),
        ({"repeats": 2}, ["a@3"], "no run is called a@3"),
        ({"base": "other.yaml"}, [], "other.yaml does not exist"),
        *(({"runs": {name: []}}, [], f"runs has the name '{name}'; allowed") for name in ("", ".", "..", "a/b", "/x")),
    ],
)
def test_mistakes_are_sentences(sweep, changes, only, sentence):
    with pytest.raises(ConfigError, match=sentence):
        load_sweep(sweep(**changes), only)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("base: a.yaml\nruns: {a: []}\nrepeats: 1000000000000", "repeats is 1000000000000; allowed: 1 to 10000"),
        ("base: ${a}\nruns: {a: []}", "a value is missing or refers to none"),
        ("base: a.yaml\nruns: ???", "a value is missing or refers to none"),
    ],
)
def test_a_sweep_of_impossible_values_is_refused(tmp_path, text, says):
    (tmp_path / "sweep.yaml").write_text(text)
    with pytest.raises(ConfigError, match=says):
        load_sweep(tmp_path / "sweep.yaml", [])
