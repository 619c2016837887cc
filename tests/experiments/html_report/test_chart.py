"""Axes show everything, their ticks are round numbers, and every figure has its words and its numbers."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.html_report.chart import Chart, Curve, Rule, limits, log_ticks, ticks
from experiments.html_report.chart_svg import _dashes, draw
from experiments.html_report.palette import CURVES
from experiments.html_report.run_charts import seconds_chart

NUMBERS = st.floats(-1e6, 1e6).map(lambda x: round(x, 6))


@given(st.lists(NUMBERS, min_size=1, max_size=20))
def test_limits_hold_every_value_and_ticks_are_few_round_and_inside(values):
    low, high = limits(values, "linear")
    assert low < high
    assert low <= min(values)
    assert max(values) <= high
    found = ticks(low, high)
    assert 1 <= len(found) <= 12
    assert found == sorted(set(found))
    assert all(low - 1e-6 * (high - low) <= tick <= high + 1e-6 * (high - low) for tick in found)
    if len(found) > 1:
        step = found[1] - found[0]
        assert float(f"{step:.0e}") == pytest.approx(step, rel=1e-6)


@given(st.floats(1e-6, 1e6), st.floats(1, 1e9))
def test_logarithmic_ticks_are_one_two_or_five_times_a_power_of_ten_where_there_is_room(low, times):
    low, high = limits([low, low * times], "log")
    found = log_ticks(low, high)
    assert 2 <= len(found) <= 12
    assert high / low < 10 or all(f"{tick:.3e}"[0] in "125" for tick in found)
    assert all(low * 0.999 <= tick <= high * 1.001 for tick in found)


def test_no_two_of_thirty_two_curves_look_alike():
    assert len({(look % CURVES, _dashes(look)) for look in range(32)}) == 32


def chart(**more):
    curves = (Curve("one", ((0, 0.5), (10, 2.0)), 0), Curve("two", ((0, 1.0),), 1))
    return Chart("A title", "About it.", "round", "epsilon", curves, "{:g}".format, "{:.2f}".format, **more)


def test_a_figure_says_in_words_where_its_curves_begin_and_end():
    made = draw(chart(rules=(Rule("asked for", 3.0),)), "fig")
    assert 'role="img" aria-labelledby="fig-name fig-text"' in made
    described = re.search(r'<desc id="fig-text">(.*?)</desc>', made).group(1)
    assert described == "epsilon by round. one: 0.50 at 0, 2.00 at 10. two: 1.00 at 0. asked for: 3.00."
    assert "<td>2.00</td>" in made  # and its numbers as a table


@pytest.mark.parametrize("last", [1, 2, 3, 7])
def test_there_is_no_tick_between_two_rounds(last):
    curve = Curve("one", tuple((x, 0.5) for x in range(last + 1)), 0)
    made = draw(Chart("T", "", "round", "y", (curve,), "round {:g}".format, "{:g}".format), "fig")
    written = re.findall(r">round ([\d.]+)</text>", made)
    assert {"0", str(last)} <= set(written) or last == 7
    assert len(written) > 1
    assert all("." not in tick for tick in written)


def test_long_curves_are_thinned_in_the_table_and_it_says_so():
    long = Curve("one", tuple((x, float(x)) for x in range(101)), 0)
    made = draw(Chart("T", "", "round", "y", (long,), "{:g}".format, "{:g}".format), "fig")
    assert "one round in 4" in made
    assert made.count("<tr>") == 1 + 26
    assert '<th scope="row">100</th>' in made


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_every_place_in_a_drawing_is_a_finite_number_inside_it(scale):
    made = draw(chart(scale_y=scale, rules=(Rule("r", 5.0),)), "fig")
    places = [float(number) for path in re.findall(r' d="([^"]*)"', made) for number in re.findall(r"-?[\d.]+", path)]
    assert places
    assert all(math.isfinite(place) and -10 <= place <= 345 for place in places)


def test_rounds_that_tell_their_stages_have_a_curve_a_stage():
    rows = [{"round": n, "seconds": 3.0, "seconds_clients": 2.0, "seconds_opening": 1.0} for n in range(4)]
    curves = seconds_chart(rows).curves
    assert [curve.name for curve in curves] == ["whole round", "clients", "opening"]
    assert curves[2].points == ((1, 1.0), (2, 1.0), (3, 1.0))  # round 0 is the untuned base
    assert seconds_chart(rows[:2]) is None


def test_a_single_value_has_an_axis_too():
    lone = Chart("T", "", "round", "y", (Curve("one", ((1, 0.0),), 0),), "{:g}".format, "{:g}".format)
    assert "<svg" in draw(lone, "fig")
