"""The GPU script runs where there is no GPU, and its checks hold on a CPU."""

from __future__ import annotations

import json

import pytest
import torch

import bench.gpu.__main__ as gpu
from bench.gpu.checks import correctness
from tests.bench.processes import in_a_process


def test_every_correctness_check_of_the_gpu_script_holds_on_a_cpu():
    checks = correctness("cpu")
    assert len(checks) >= 12
    assert [check["check"] for check in checks if not check["holds"]] == []


def test_the_gpu_script_runs_without_a_gpu_and_writes_what_it_found(tmp_path):
    few = ["--device", "cpu", "--quick", "--only", "correctness", "gaussian", "tails"]
    done = in_a_process("bench.gpu", "--out", str(tmp_path), *few)
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads((tmp_path / "gpu.json").read_text())
    assert report["tails"]["kolmogorov_smirnov"][0]["p_at_least"] > 1e-4
    assert "## correctness" in (tmp_path / "gpu.md").read_text()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_gpu_script_says_in_one_sentence_that_there_is_no_gpu(tmp_path, capsys):
    assert gpu.main(["--out", str(tmp_path / "out")]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.count("\n") == 1
    assert "no CUDA device" in err
    assert not (tmp_path / "out").exists()
