"""What a sampler does, counted without a clock: what is the same whatever it drew, and how far the rest tells of it."""

from __future__ import annotations

import json

import numpy as np
import pytest

import bench.sampler_timing.__main__ as sampler_timing
from bench.sampler_timing.timing import EVIDENCE, largest_t
from bench.sampler_timing.traces import COUNTS, SAMPLERS, leaky, permutation_p, record
from secagg.gaussian_table import UNDECIDED, gaussian_table

BYTES, TAKES, OPEN, EXACT = range(len(COUNTS))


def correlation(traces, column):
    return abs(float(np.corrcoef(traces.counts[:, column], traces.sums)[0, 1]))


@pytest.mark.parametrize(
    ("name", "sigma"),
    [("skellam", 5), ("skellam", 200), ("skellam", 1000), ("discrete_table", 5), ("discrete_table", 1000)],
)
@pytest.mark.parametrize("size", [1, 64])
def test_skellam_and_the_device_table_draw_the_same_number_of_words_whatever_they_draw(name, sigma, size):
    traces = record(SAMPLERS[name], sigma, size, 300, "words")
    assert np.unique(traces.counts[:, [BYTES, TAKES]], axis=0).shape == (1, 2)
    assert len(np.unique(traces.sums)) > 10 or size == 1


@pytest.mark.parametrize("sigma", [3, 16, 17, 1000])
def test_the_discrete_gaussian_draws_a_fixed_number_of_bytes_and_eight_for_every_undecided_look_up(sigma):
    counts = record(SAMPLERS["discrete_gaussian"], sigma, 64, 1500, "bytes").counts
    fixed, passes = counts[:, BYTES].min(), counts[:, TAKES].min()
    further = counts[:, BYTES] - fixed
    assert not (further % 8).any()
    # One pass always; the further bits of all undecided ones come in one call.
    assert (counts[:, TAKES] - passes == (further > 0)).all()
    candidates = 64 if sigma <= 16 else 64 + 64 // 15 + 8 + 16
    share = (gaussian_table(sigma).quick == UNDECIDED).mean()
    assert further.sum() / 8 == pytest.approx(share * candidates * 1500, abs=5 * (share * candidates * 1500) ** 0.5 + 1)


def test_fewer_than_one_look_up_in_four_hundred_is_undecided():
    shares = [(gaussian_table(sigma).quick == UNDECIDED).mean() for sigma in (*range(1, 40), 1000, 2**20 - 1, 2**40)]
    assert max(shares) < 1 / 400


@pytest.mark.parametrize(("name", "sigma"), [("discrete_gaussian", 16), ("discrete_gaussian", 1000), ("skellam", 1000)])
def test_what_depends_on_the_values_correlates_with_their_sum_by_less_than_a_quarter(name, sigma):
    traces = record(SAMPLERS[name], sigma, 64, 3000, "open")
    assert correlation(traces, OPEN if sigma > 16 else BYTES) < 0.25
    assert not traces.counts[:, EXACT].any()
    if sigma > 16:  # the count is no accident of this test: it does depend on the values
        assert permutation_p(traces.counts[:, OPEN], traces.sums) < 0.01


def test_a_sampler_that_works_for_every_step_of_x_is_found_out():
    traces = record(leaky, 1000, 64, 300, "plant")
    assert correlation(traces, BYTES) > 0.5
    assert permutation_p(traces.counts[:, BYTES], traces.sums) == 0.001


def test_a_sampler_that_draws_until_it_is_small_is_found_out():
    def patient(sigma, size, source):
        drawn = SAMPLERS["skellam"](sigma, size, source)
        while np.abs(drawn).max() > 3 * sigma:
            drawn = SAMPLERS["skellam"](sigma, size, source)
        return drawn

    traces = record(patient, 1000, 64, 300, "patience")
    assert len(np.unique(traces.counts[:, BYTES])) > 1


def test_independent_counts_are_not_called_dependent():
    generator = np.random.Generator(np.random.PCG64(0))
    found = [permutation_p(generator.normal(size=200), generator.normal(size=200), shuffles=99) for _ in range(60)]
    assert 0.2 < np.median(found) < 0.8
    assert permutation_p(np.ones(5), np.arange(5)) == 1.0


def test_welchs_t_finds_a_shift_under_outliers_and_none_where_there_is_none():
    generator = np.random.Generator(np.random.PCG64(0))
    first, second, shifted = 100 + generator.normal(size=(3, 4000))
    for times in (first, second, shifted):
        times[:40] *= 1000
    assert abs(largest_t(first, second)) < EVIDENCE
    assert largest_t(first, shifted + 0.5) > 10
    assert largest_t(shifted + 0.5, first) < -10


def test_the_command_writes_every_sampler_and_the_plant(tmp_path):
    # Whether the times hold is for the recorded run: no clock is asserted on here.
    assert sampler_timing.main(["--out", str(tmp_path), "--batches", "100", "--size", "8"]) in (0, 1)
    part = json.loads((tmp_path / "sampler_timing.json").read_text())
    assert {row["sampler"] for row in part["rows"]} == {*SAMPLERS, "planted: work for every |x|"}
    assert "| skellam | 1,000 | 8 | 100 |" in (tmp_path / "sampler_timing.md").read_text()
    with pytest.raises(SystemExit) as stopped:
        sampler_timing.main(["--out", str(tmp_path), "--batches", "1"])
    assert stopped.value.code == 2
