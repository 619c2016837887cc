"""Ctrl-C or SIGTERM in a run or a sweep: one sentence with the command that goes on, and the exit code of shells."""

from __future__ import annotations

import os
import shlex
import signal

import pytest
import yaml

from experiments import runs
from experiments.commands.interruption import terminable


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


def command(code, out, err, wanted=130):
    assert (code, out) == (wanted, "")
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


@pytest.fixture
def terminated(monkeypatch):
    """Every run gets SIGTERM once it has begun."""

    def execute(config, out, resume, overwrite, progress):
        out.mkdir(parents=True, exist_ok=True)
        (out / "config.yaml").write_text("{}")
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("not reached")

    monkeypatch.setattr(runs, "execute", execute)


def test_sigterm_ends_a_run_and_a_sweep_as_ctrl_c_does_with_its_own_code(sotto, terminated, config, tmp_path):
    out = tmp_path / "run"
    again = command(*sotto("run", config, "--out", out), wanted=143)
    assert again == ["sotto", "run", str(config), "--out", str(out), "--resume"]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    plan = tmp_path / "sweep.yaml"
    plan.write_text(yaml.safe_dump({"base": "base.yaml", "runs": {"a": []}}))
    again = command(*sotto("sweep", plan, "--out", tmp_path / "out"), wanted=143)
    assert again == ["sotto", "sweep", str(plan), "--out", str(tmp_path / "out")]


def test_a_forked_child_ends_by_sigterm_as_if_nothing_had_been_set():
    with terminable():
        child = os.fork()
        if not child:
            os.kill(os.getpid(), signal.SIGTERM)
            os._exit(1)
        _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGTERM


def test_sigterm_that_somebody_else_handles_is_left_to_them():
    came = []
    before = signal.signal(signal.SIGTERM, lambda number, _: came.append(number))
    try:
        with terminable():
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert came == [signal.SIGTERM]
