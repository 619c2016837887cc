"""A watch is judged by its limits alone: growth is named, and what is none is not."""

from __future__ import annotations

import pytest

from bench.soak.verdict import Limits, assess
from tests.bench.soak.made_up import series


def test_a_flat_series_is_flat():
    assert assess(series(), Limits())["problems"] == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"uss": lambda n: 1e8 + 1500 * n}, "uss grow by 1500.0 bytes a round"),
        ({"objects": lambda n: 5e4 + 20 * n}, "objects grow by 20.0 objects a round"),
        ({"descriptors": lambda n: 7 + n // 250}, "descriptors grew from 7 to 8; allowed: none"),
        ({"threads": lambda n: 3 + n // 200}, "threads grew"),
        ({"cpu_s": lambda n: 0.01 * n + 1e-5 * n * n}, "processor time a round grew by"),
    ],
)
def test_growth_above_a_limit_is_named(changes, says):
    (problem,) = assess(series(**changes), Limits())["problems"]
    assert says in problem


@pytest.mark.parametrize(
    "changes",
    [
        {"uss": lambda n: 1e8 + 900 * n},
        {"uss": lambda n: 1e8 + 1e7 * min(n, 200) / 200},  # warm-up
        {"uss": lambda n: 1e8 - 5000 * n},
        {"descriptors": lambda n: 7 + 5 * (n % 10 == 0)},  # open for a moment
        {"descriptors": lambda n: 9 - (n > 100)},
        {"descriptors": lambda n: 7 + (n > 300 and n % 4 > 0)},  # most looks late, and few early, meet an open file
    ],
)
def test_warming_up_shrinking_and_a_moment_are_no_growth(changes):
    assert assess(series(**changes), Limits())["problems"] == []


def test_too_few_samples_are_no_verdict():
    assert "too few to judge by" in assess(series(10), Limits())["problems"][0]


def test_quiet_stretches_decide_on_descriptors_where_there_are_any():
    samples = series(descriptors=lambda n: 7 + n // 250)
    assert assess(samples, Limits(), quiet=(samples[:5], samples[5:10]))["problems"] == []
    assert "no quiet stretch" in assess(samples, Limits(), quiet=([], samples))["problems"][0]
