"""The benchmark of the private step goes on where it stopped, and shows every part."""

from __future__ import annotations

import pytest

import bench.kernels_cpu.__main__ as kernels_cpu
from bench.kernels_cpu.figure import draw
from bench.kernels_cpu.page import page
from bench.lora_step.shapes import TINY, Cell
from bench.records import load


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
    assert len(load(tmp_path / "stage.json")["rows"]) == 2


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
    text = page(parts)
    assert "2.00 times its time at the median of 1 cells" in text
    assert "14 (+4)" in text
    assert "| sotto | 1 | 3 | 0.75 |" in text
    draw(parts, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000
