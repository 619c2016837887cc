"""What all figures share: how curves look and what they are called, notes below them, axis limits."""

from __future__ import annotations

import matplotlib as mpl
import pytest

from experiments.figures import COLOURS, DASHES, accuracy_limits, footnote, label, look, pyplot, whole_rounds
from tests.experiments.stored_run import run


def summary(*notes):
    return {"privacy": {"warnings": []}, "notes": list(notes)}


def test_notes_below_a_figure_are_wrapped_to_its_width_and_each_is_there_once():
    short, long = "a short note", "extrapolation: " + "the noise that an average over more clients would have " * 6
    figure = pyplot().figure(figsize=(7, 4))
    footnote(figure, [summary(short), summary(long, short)])
    (text,) = figure.texts
    box = text.get_window_extent(mpl.backends.backend_agg.FigureCanvasAgg(figure).get_renderer())
    assert box.x1 <= figure.bbox.x1
    assert " ".join(text.get_text().split()) == f"{short} {' '.join(long.split())}"
    pyplot().close(figure)


@pytest.mark.parametrize("last", [1, 2, 3, 7, 150])
def test_an_axis_of_rounds_has_no_tick_between_two_rounds(last):
    figure, axes = pyplot().subplots()
    axes.plot([0, last], [0, 1])
    whole_rounds(axes)
    assert len(axes.get_xticks()) > 1
    assert all(tick == round(tick) for tick in axes.get_xticks())
    pyplot().close(figure)


def test_a_figure_without_notes_has_no_text_below_it():
    figure = pyplot().figure()
    footnote(figure, [summary()])
    assert not figure.texts
    pyplot().close(figure)


@pytest.mark.parametrize(
    ("values", "limits"),
    [([], (0.0, 1.0)), ([0.1, 0.9], (0.0, 1.0)), ([0.12, 0.14], (0.118, 0.142)), ([0.001, 0.001], (0.0, 0.003))],
)
def test_an_accuracy_axis_shows_what_was_reached(values, limits):
    assert accuracy_limits(values) == pytest.approx(limits)


def test_no_two_of_thirty_two_curves_look_alike_and_the_first_turn_goes_through_every_colour():
    assert len({look(number) for number in range(32)}) == len(COLOURS) * len(DASHES) == 32
    assert [look(number)[0] for number in range(8)] == list(COLOURS)
    assert look(32) == look(0)


def test_a_legend_names_the_unit_where_it_is_asked_for():
    own = run("own", 0.2)[2]
    assert label(own, targets=False) == "distributed, epsilon 8"
    assert label(own, targets=False, unit=True) == "example level, distributed, epsilon 8"
