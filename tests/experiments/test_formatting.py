"""Numbers for people: as many digits as mean something, and no powers of ten where there is room."""

from __future__ import annotations

import pytest

from experiments.formatting import epsilon, measured, score


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, "∞"),
        (7.99946, "7.999"),
        (143.757, "143.757"),
        (1412.3, "1,412"),
        (123_456.0, "123,456"),
        (2.5e9, "2.5e+09"),
    ],
)
def test_an_epsilon_has_three_digits_behind_the_point_or_none(value, written):
    assert epsilon(value) == written


@pytest.mark.parametrize(
    ("value", "written"),
    [(0.0123, "0.0123"), (4.4444, "4.44"), (317.1, "317"), (999.7, "1,000"), (1412.3, "1,412"), (1e299, "1e+299")],
)
def test_what_was_measured_is_no_power_of_ten(value, written):
    assert measured(value) == written


@pytest.mark.parametrize(
    ("value", "written"), [(0.97182, "0.9718"), (5.02733, "5.0273"), (152.5142, "152.5"), (1e299, "1e+299")]
)
def test_a_perplexity_has_fewer_digits_than_a_share(value, written):
    assert score(value) == written
