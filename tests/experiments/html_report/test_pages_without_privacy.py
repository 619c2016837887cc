"""Pages about runs that protect nobody claim nothing, whatever number their ledgers have for unknown noise."""

from __future__ import annotations

import re

import pytest

from tests.experiments.html_report.sample import sample_run
from tests.experiments.html_report.test_page import page


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("options", [{"noise_source": "seeded"}, {"trust": "none"}])
def test_what_is_not_private_is_nowhere_called_protected_or_proven(tmp_path, options, count):
    runs = [sample_run(tmp_path / name, name, **options) for name in "ab"[:count]]
    # A summary that an earlier version wrote calls the mechanism proven, whoever knows the noise.
    runs[0][2]["privacy"]["proven"] = True
    _, read = page(tmp_path, runs, {name: tmp_path / name / "ledger.jsonl" for name, _, _ in runs})
    assert "without privacy" in read.text
    assert not re.findall(r"\w*(?:protected|proven)\w*", read.text, re.IGNORECASE)


def test_a_comparison_says_in_how_many_settings_something_is_protected(tmp_path):
    runs = [sample_run(tmp_path / "a", "a"), sample_run(tmp_path / "b", "b", trust="none")]
    _, read = page(tmp_path, runs, {})
    assert "with each record protected in 1 of 2 settings and trust distributed and none" in read.text
    assert "Fine-tuning runs, side by side" in read.text
