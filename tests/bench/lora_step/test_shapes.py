"""The grid of batches, lengths, ranks and targets."""

from __future__ import annotations

from bench.lora_step.shapes import GRID, cell_of


def test_the_grid_is_the_whole_one():
    assert len(set(GRID)) == 48
    assert cell_of("16,128,4,all") in GRID
