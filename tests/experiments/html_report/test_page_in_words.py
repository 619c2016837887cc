"""A page says what was learnt, from which records, and on whom it was scored, as far as its summary does."""

from __future__ import annotations

import pytest

from tests.experiments.html_report.sample import sample_run
from tests.experiments.html_report.test_page import page

WORDS = {
    "learns": "to predict the next word of own",
    "record": "a piece of at most 20 tokens of a text: a longer text is several records",
    "scored_on": "texts of 12 held-out users, scored without noise",
    "about": "help topics of a language",
}


def test_what_is_learnt_and_what_a_record_is_stand_at_the_top_and_are_no_alarm(tmp_path):
    run = sample_run(tmp_path / "run", words=WORDS, notes=(WORDS["about"], "a stand-in was used"))
    _, read = page(tmp_path, [run], {})
    top = read.text.split("Accuracy before")[0]
    assert "The adapter learns to predict the next word of own." in top
    assert "The data: help topics of a language." in top
    assert "One record is a piece of at most 20 tokens of a text: a longer text is several records." in top
    assert read.text.split("Read this first")[1].startswith(" a stand-in was used")


def test_texts_of_held_out_users_are_not_called_public(tmp_path):
    run = sample_run(tmp_path / "run", words=WORDS)
    _, read = page(tmp_path, [run], {})
    assert "public" not in read.text
    assert "On texts of 12 held-out users, scored without noise." in read.text
    assert "All scores on texts of 12 held-out users, scored without noise" in read.text
    _, part = page(tmp_path, [(run[0], run[1], run[2] | {"accuracy_before": 0.11})], {})
    assert "On a part of what the numbers above are of: texts of 12 held-out users, scored without noise." in part.text


@pytest.mark.parametrize("words", [{}, {"learns": ""}])
def test_a_summary_that_says_little_is_of_public_test_data(tmp_path, words):
    _, read = page(tmp_path, [sample_run(tmp_path / "run", words=words)], {})
    assert "On public test data." in read.text
    assert "The adapter learns" not in read.text
    assert "One record is" not in read.text
