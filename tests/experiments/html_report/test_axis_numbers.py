"""Round numbers are short at an axis and no two of them are written alike; measured ones keep their digits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.html_report.axis_numbers import as_epsilon, as_share, as_whole
from experiments.html_report.chart import limits, log_ticks, ticks


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.5, "0.5"), (8.0, "8"), (2000.0, "2,000"), (50_000.0, "50,000"), (1e5, "10^5"), (2e5, "2·10^5"),
        (5e12, "5·10^12"), (1.23456, "1.235"), (143_757.0, "143,757"), (1.43757e9, "1.44e+09"),
    ],
)  # fmt: skip
def test_an_epsilon_is_written_as_a_tick_or_as_it_was_measured(value, written):
    assert as_epsilon(value) == written


@given(st.floats(0.1, 1e7), st.floats(1.1, 1e6))
def test_no_two_ticks_of_an_epsilon_axis_are_written_alike(low, times):
    found = log_ticks(*limits([low, low * times], "log"))
    assert len({as_epsilon(tick) for tick in found}) == len(found)


@given(st.floats(0, 0.9), st.floats(0.002, 1))
def test_no_two_ticks_of_a_share_axis_are_written_alike(low, width):
    span = limits([low, low + width], "linear")
    found = ticks(*span)
    assert len({as_share(span)(tick) for tick in found}) == len(found)


@pytest.mark.parametrize(("value", "written"), [(3.0, "3"), (12_000, "12,000"), (2.5, "2.5")])
def test_a_count_has_its_thousands(value, written):
    assert as_whole(value) == written
