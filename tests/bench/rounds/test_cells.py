"""Every cell has a name of its own."""

from __future__ import annotations

from bench.rounds.cells import FRAMEWORKS, grid, shrunk


def test_every_cell_has_its_own_name_and_small_ones_keep_every_kind():
    names = [cell.name for cell in grid()]
    assert len(set(names)) == len(names)
    assert {cell.framework for cell in grid()} == set(FRAMEWORKS)
    kinds = {(cell.work, cell.framework, cell.privacy, cell.parties, cell.inputs, cell.rank) for cell in grid()}
    small = shrunk(grid())
    assert kinds == {(c.work, c.framework, c.privacy, c.parties, c.inputs, c.rank) for c in small}
    assert max(cell.clients for cell in small) <= 200
