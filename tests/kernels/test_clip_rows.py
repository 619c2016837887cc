"""Rows clipped to the grid one by one: the same integers as the summing kernel's, inside the bound exactly."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kernels import clip_and_sum_counted, clip_rows, squared_norms

SCALE = 2.0**16

values = st.floats(-4, 4, width=32)
rows_of = st.tuples(st.integers(1, 6), st.integers(1, 40)).flatmap(
    lambda shape: arrays(np.float32, shape, elements=values)
)


def each_alone(rows, clip_norm, scale):
    return torch.stack(
        [clip_and_sum_counted(row[None], squared_norms(row[None]), clip_norm, scale=scale).total for row in rows]
    )


@given(rows_of, st.floats(0.01, 5))
def test_each_row_is_what_the_sum_of_it_alone_would_be_and_within_the_bound(rows, clip_norm):
    rows = torch.from_numpy(rows)
    got = clip_rows(rows, squared_norms(rows), clip_norm, SCALE)
    assert torch.equal(got.total, each_alone(rows, clip_norm, SCALE))
    bound = math.floor(clip_norm * SCALE)
    for row in got.total.tolist():
        assert sum(value * value for value in row) <= bound * bound
    assert got.accepted is None
    assert got.clipped == int((squared_norms(rows).sqrt() > clip_norm).sum())


@pytest.mark.parametrize("length", [1, 6560, 70_000])
def test_rows_longer_and_shorter_than_a_block(length):
    rows = torch.randn(13, length, generator=torch.Generator().manual_seed(0))
    got = clip_rows(rows, squared_norms(rows), 1.0, SCALE)
    assert torch.equal(got.total, each_alone(rows, 1.0, SCALE))


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_a_row_that_is_not_finite_is_zero_and_counted_and_its_neighbours_stay(wrong):
    rows = torch.randn(5, 30, generator=torch.Generator().manual_seed(0))
    clean = clip_rows(rows, squared_norms(rows), 1.0, SCALE)
    rows[2, 7] = wrong
    got = clip_rows(rows, squared_norms(rows), 1.0, SCALE)
    assert not got.total[2].any()
    assert torch.equal(got.total[[0, 1, 3, 4]], clean.total[[0, 1, 3, 4]])
    assert (got.nonfinite, clean.nonfinite) == (1, 0)
    assert got.accepted.tolist() == [True, True, False, True, True]


def test_a_row_whose_norm_was_understated_is_zero_and_counted():
    rows = torch.ones(2, 4)
    got = clip_rows(rows, torch.tensor([0.25, 4.0], dtype=torch.float64), 1.0, SCALE)
    assert not got.total[0].any()
    assert got.total[1].any()
    assert got.nonfinite == 1


def test_no_rows_give_none():
    assert clip_rows(torch.zeros(0, 3), torch.zeros(0), 1.0, SCALE).total.shape == (0, 3)


@pytest.mark.parametrize(
    ("rows", "norms", "clip_norm", "scale", "sentence"),
    [
        (torch.zeros(3), torch.zeros(3), 1.0, SCALE, "rows must be"),
        (torch.zeros(2, 3), torch.zeros(3), 1.0, SCALE, "sq_norms must be"),
        (torch.zeros(2, 3), torch.zeros(2), 0.0, SCALE, "clip_norm must be"),
        (torch.zeros(2, 3), torch.zeros(2), 1.0, 2.0**41, "grid steps"),
    ],
)
def test_what_does_not_fit_is_refused(rows, norms, clip_norm, scale, sentence):
    with pytest.raises(ValueError, match=sentence):
        clip_rows(rows, norms, clip_norm, scale)
