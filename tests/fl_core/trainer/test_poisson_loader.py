"""Batches by secret coins: every record by itself, in every step anew."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from fl_core.trainer.poisson_loader import PoissonLoader


def drawn(records=40, rate=0.25, steps=400, microbatch=1000):
    return list(PoissonLoader(range(records), list, rate, microbatch, steps))


def test_sizes_are_binomial_and_records_are_picked_alike_and_by_themselves():
    taken = np.zeros((400, 40), dtype=int)
    for step, parts in enumerate(drawn()):
        taken[step, [record for part in parts for record in part]] = 1
    # Fixed-size or shuffled batches would fail the first or the last.
    sizes = taken.sum(1)
    assert 1e-6 < stats.chi2.cdf(399 * sizes.var(ddof=1) / (40 * 0.25 * 0.75), 399) < 1 - 1e-6
    assert stats.binomtest(int(taken.sum()), taken.size, 0.25).pvalue > 1e-6
    assert stats.chisquare(taken.sum(0)).pvalue > 1e-6
    pairs = (taken[:, :-1] & taken[:, 1:]).sum()
    assert stats.binomtest(int(pairs), 400 * 39, 0.25**2).pvalue > 1e-6


@pytest.mark.parametrize("microbatch", [1, 3, 7])
def test_microbatches_are_the_sample_in_parts_and_an_empty_sample_has_none(microbatch):
    for parts in drawn(records=12, microbatch=microbatch, steps=100):
        assert all(1 <= len(part) <= microbatch for part in parts)
        assert all(len(part) == microbatch for part in parts[:-1])
        flat = [record for part in parts for record in part]
        assert flat == sorted(set(flat))
    assert any(parts == [] for parts in drawn(records=3, rate=0.2, steps=100))


def test_every_pass_and_every_loader_has_coins_of_its_own():
    loader = PoissonLoader(range(200), list, 0.5, 200, 3)
    seen = [tuple(parts[0]) for parts in [*loader, *loader, *PoissonLoader(range(200), list, 0.5, 200, 3)]]
    assert len(set(seen)) == 9
    assert len(loader) == 3
