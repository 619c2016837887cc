"""Every text and mark of the page can be told from what is behind it, in light and in dark (WCAG 2.2 AA)."""

from __future__ import annotations

import re

import pytest

from experiments.html_report.palette import CURVES, DARK, LIGHT, MARKS, TEXTS
from experiments.html_report.style import style


def luminance(colour):
    """Relative luminance, WCAG 2.2."""
    shares = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, two):
    low, high = sorted((luminance(one), luminance(two)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_computed_as_the_standard_says():
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_texts_and_marks_keep_the_contrast_that_aa_asks_for(colours):
    assert {pair: round(contrast(colours[pair[0]], colours[pair[1]]), 2) for pair in TEXTS if contrast(
        colours[pair[0]], colours[pair[1]]) < 4.5} == {}  # fmt: skip
    assert {pair: round(contrast(colours[pair[0]], colours[pair[1]]), 2) for pair in MARKS if contrast(
        colours[pair[0]], colours[pair[1]]) < 3} == {}  # fmt: skip


def test_both_palettes_have_every_colour_that_the_sheet_uses_and_no_other():
    used = set(re.findall(r"var\(--([\w-]+)\)", style()))
    assert used == set(LIGHT) == set(DARK)
    assert len({LIGHT[f"c{index}"] for index in range(CURVES)}) == CURVES


def test_colours_of_text_in_the_sheet_are_among_the_pairs_that_are_checked():
    inks = {ink for ink, _ in TEXTS}
    found = set(re.findall(r"(?<![-\w])color:var\(--([\w-]+)\)", style()))
    assert found <= inks
    assert set(re.findall(r"background:var\(--([\w-]+)\)", style())) <= {ground for _, ground in TEXTS}
