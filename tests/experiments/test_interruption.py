"""Ctrl-C in a run or a sweep: one sentence with the command that goes on, and the exit code of shells."""

from __future__ import annotations

import shlex

import pytest
import yaml

from experiments import runs


@pytest.fixture
def interrupted(monkeypatch):
    """Every run is interrupted, before or after its folder holds a configuration."""

    def at(begun):
        def execute(config, out, resume, overwrite, progress):
            out.mkdir(parents=True, exist_ok=True)
            if begun:
                (out / "config.yaml").write_text("{}")
            raise KeyboardInterrupt

        monkeypatch.setattr(runs, "execute", execute)

    return at


@pytest.fixture
def config(tmp_path):
    (tmp_path / "base.yaml").write_text(yaml.safe_dump({"privacy": {"epsilon": 2}}))
    return tmp_path / "base.yaml"


def command(code, out, err):
    assert (code, out) == (130, "")
    sentence, _, again = err.splitlines()[-1].partition(" To go on: ")
    assert sentence == "interrupted; every finished round is kept."
    return shlex.split(again)


@pytest.mark.parametrize(("begun", "more"), [(False, []), (True, ["--resume"])])
@pytest.mark.parametrize("silent", [(), ("--json",)])
def test_a_run_is_resumed_only_if_it_began(sotto, interrupted, config, tmp_path, begun, more, silent):
    interrupted(begun)
    out = tmp_path / "a folder"
    again = command(*sotto("run", config, "lora.targets=[fc]", "--out", out, *silent))
    assert again == ["sotto", "run", str(config), "lora.targets=[fc]", "--out", str(out), *more]


def test_a_sweep_goes_on_with_the_same_command(sotto, interrupted, config, tmp_path):
    interrupted(True)
    plan = tmp_path / "sweep.yaml"
    plan.write_text(yaml.safe_dump({"base": "base.yaml", "runs": {"a": [], "b": []}}))
    again = command(*sotto("sweep", plan, "--out", tmp_path / "out", "--only", "b", "--only", "a"))
    assert again == ["sotto", "sweep", str(plan), "--out", str(tmp_path / "out"), "--only", "b", "--only", "a"]
