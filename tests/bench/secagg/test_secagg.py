"""The benchmark of secure aggregation measures rounds that open the plaintext sum, and says what it left out."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bench.secagg.__main__ import main
from bench.secagg.cell import Cell, measure_cell, plaintext_sum, ring_of


def test_the_plaintext_sum_is_that_of_the_files_vectors(tmp_path):
    vectors = np.random.default_rng(1).integers(-(2**63), 2**63 - 1, (5, 33))
    vectors.tofile(tmp_path / "vectors")
    assert np.array_equal(plaintext_sum(tmp_path / "vectors", 33), vectors.sum(axis=0))


def test_the_ring_of_the_cell_that_counts_is_narrower_than_float32():
    assert ring_of(1000) == 31


def test_every_round_opens_the_plaintext_sum_and_leaves_no_file(tmp_path):
    cell = Cell(clients=7, length=3000, parties=3)
    row = measure_cell(cell, tmp_path, repeats=2, timeout_s=60)
    assert list(tmp_path.iterdir()) == []
    assert sum(row["received_bytes"]) == pytest.approx(7 * row["upload_bytes"], rel=0.01)
    assert len(row["received_bytes"]) == len(row["peak_mib"]) == 3
    assert row["upload_over_float32"] < 1
    assert row["bytes_between_parties"] > 3000 * 8


def test_a_wrong_sum_is_no_result(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.secagg.cell.plaintext_sum", lambda path, length: np.zeros(length, dtype=np.int64))
    with pytest.raises(RuntimeError, match="is not the plaintext sum"):
        measure_cell(Cell(clients=2, length=50, parties=2), tmp_path, repeats=1, timeout_s=60)
    assert list(tmp_path.iterdir()) == []


def test_the_command_goes_on_where_it_stopped_and_names_what_it_left_out(tmp_path):
    grid = ["--clients", "3", "--parties", "2", "--repeats", "1", "--out", str(tmp_path), "--scratch", str(tmp_path)]
    assert main([*grid, "--lengths", "100"]) == 0
    first = json.loads((tmp_path / "secagg.json").read_text())["rows"]
    assert main([*grid, "--lengths", "100", "1000000", "--max-gb", "0.01"]) == 0
    part = json.loads((tmp_path / "secagg.json").read_text())
    assert part["rows"] == first
    assert part["left_out"]["cells"][0]["cell"] == [3, 1_000_000, 2]
    assert "Left out, files above 0.01 GB: 3 x 1,000,000 x 2" in (tmp_path / "secagg.md").read_text()
    assert {file.name for file in tmp_path.iterdir()} == {"secagg.json", "secagg.md", "secagg.png"}
