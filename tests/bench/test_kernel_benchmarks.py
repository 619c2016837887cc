"""The benchmark scripts run where there is no GPU, check what they measure, and go on where they stopped."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import bench.gpu.__main__ as gpu
import bench.kernels_cpu.__main__ as kernels_cpu
from bench import tables
from bench.gaussian_tails import distance, tail
from bench.gpu.checks import correctness
from bench.lora_step.shapes import GRID, TINY, Cell, cell_of
from bench.measure import Operations, round_robin

ROOT = Path(__file__).parents[2]


def test_every_correctness_check_of_the_gpu_script_holds_on_a_cpu():
    checks = correctness("cpu")
    assert len(checks) >= 12
    assert [check["check"] for check in checks if not check["holds"]] == []


def test_the_gpu_script_runs_without_a_gpu_and_writes_what_it_found(tmp_path):
    command = [sys.executable, "-m", "bench.gpu", "--device", "cpu", "--quick", "--out", str(tmp_path)]
    done = subprocess.run(
        [*command, "--only", "correctness", "gaussian", "tails"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads((tmp_path / "gpu.json").read_text())
    assert report["tails"]["kolmogorov_smirnov"][0]["p_at_least"] > 1e-4
    assert "## correctness" in (tmp_path / "gpu.md").read_text()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_gpu_script_says_in_one_sentence_that_there_is_no_gpu(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--out", str(tmp_path / "out")])
    assert gpu.main() == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.count("\n") == 1
    assert "no CUDA device" in err
    assert not (tmp_path / "out").exists()


def test_an_interrupted_part_goes_on_where_it_stopped(tmp_path, monkeypatch):
    cells, measured = [Cell(2, 8, 4, "c_attn"), Cell(2, 8, 4, "all")], []

    def stage(shape, cell, limit_s):
        if len(measured) == 1 and not (tmp_path / "again").exists():
            raise KeyboardInterrupt
        measured.append(cell)
        return {"sotto": {"seconds": 1.0, "ratio": 0.5, "rounds": 1}}

    monkeypatch.setattr(kernels_cpu, "stage", stage)
    with pytest.raises(KeyboardInterrupt):
        kernels_cpu.run("stage", TINY, cells, tmp_path, 1.0)
    (tmp_path / "again").touch()
    kernels_cpu.run("stage", TINY, cells, tmp_path, 1.0)
    assert measured == cells
    assert len(tables.load(tmp_path / "stage.json")["rows"]) == 2


def test_tables_and_plot_show_every_part(tmp_path):
    figures = {"seconds": 0.002, "ratio": 0.5, "cpu_ratio": 0.6, "least_ratio": 0.4, "rounds": 3}
    timed = {"opacus hooks": figures | {"ratio": 1.0}, "sotto": figures, "sotto integer": figures}
    cell = Cell(16, 128, 4, "all").row
    rows = {
        "stage": timed,
        "operations": {"non-private plain loss": 10, "sotto": 14},
        "memory": {
            "non-private": {"before": 1.0, "peak": 4.0},
            "sotto": {"before": 1.0, "peak": 3.0},
            "other": {"error": "no"},
        },
        "step": {"non-private": figures, "sotto": figures},
    }  # fmt: skip
    parts = {name: {"environment": ["here"], "rows": [cell | {"methods": methods}]} for name, methods in rows.items()}
    page = tables.page(parts)
    assert "2.00 times its time at the median of 1 cells" in page
    assert "14 (+4)" in page
    assert "| sotto | 1 | 3 | 0.75 |" in page
    tables.plot(parts, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000


def test_medians_and_ratios_are_of_the_same_rounds():
    waits = iter([0.0] * 4)
    found = round_robin({"one": lambda: next(waits, 0), "two": lambda: None}, 3, warmup=1)
    assert found["one"]["ratio"] == 1.0
    assert found["two"]["rounds"] == 3


def test_views_and_allocations_are_no_operations():
    x = torch.ones(4, 4)
    with Operations() as counted:
        x.view(16).unsqueeze(0).t().detach()
        torch.empty(3)
        (x + 1).mul_(2)
    assert counted.count == 2


def test_a_wrong_distribution_is_found_out():
    flat = torch.full((2**20,), 1000)
    assert distance(flat, 1000 * 2**20)["p_at_least"] > 0.99
    tilted = flat + torch.linspace(-20, 20, 2**20).long()
    assert distance(tilted, int(tilted.sum()))["p_at_least"] < 1e-6
    assert tail(5.68, [0, 0], 10**10)["p"] < 1e-6  # what a generator that ends there would show
    assert tail(6.5, [0, 0], 10**9)["p"] == 1.0


def test_the_grid_is_the_whole_one():
    assert len(set(GRID)) == 48
    assert cell_of("16,128,4,all") in GRID
