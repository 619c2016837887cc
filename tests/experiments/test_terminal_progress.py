"""What a run shows while it runs: epsilons, scores, what was refused, and how long the rest takes."""

from __future__ import annotations

import re

import pytest

from experiments import terminal_progress
from experiments.terminal_progress import RoundProgress, StepProgress
from experiments.time_left import TimeLeft
from fl_core.round_report import RoundReport


@pytest.mark.parametrize(
    ("refused", "message", "says"),
    [(0, "", "18 clients\n"), (2, "", "18 clients (2 refused)\n"), (0, "nothing was opened", "nothing was opened\n")],
)
def test_a_rounds_line_has_every_finite_epsilon_and_what_was_refused(capsys, refused, message, says):
    with RoundProgress(10, silent=False, title="demo", target=("aggregators", 8.0)) as progress:
        epsilons = {"release": 1.234, "aggregators": 1.5, "local": None}
        progress.round(RoundReport(3, 10, 18, refused, {"accuracy": 0.5}, epsilons, message))
    line = capsys.readouterr().err
    assert line == f"demo 3/10  accuracy 0.5000  eps release 1.23, aggregators 1.5 of 8  {says}"


def test_steps_off_a_terminal_are_a_line_a_tenth_and_one_for_every_note(capsys):
    with StepProgress(100, "training", silent=False) as progress:
        progress.say("reading")
        for step in range(1, 41):
            progress.advance(step, f"loss {step}", "measured" if step == 15 else "")
    shown = [re.sub(r"  \d+ s left$", "", line) for line in capsys.readouterr().err.splitlines()]
    assert shown == [
        "training 10/100  loss 10",
        "training 15/100  loss 15  measured",
        "training 20/100  loss 20",
        "training 30/100  loss 30",
        "training 40/100  loss 40",
    ]


def test_a_round_that_was_not_scored_shows_the_last_score_and_whose_it_is(capsys):
    with RoundProgress(3, silent=False) as progress:
        for number, scores in ((1, {"accuracy": 0.25}), (2, {}), (3, {"accuracy": 0.5})):
            progress.round(RoundReport(number, 3, 9, 0, scores, {"release": None}, ""))
    first, second, third = capsys.readouterr().err.splitlines()
    assert first == "round 1/3  accuracy 0.2500  9 clients"
    assert second.startswith("round 2/3  accuracy 0.2500 (round 1)  9 clients")
    assert third == "round 3/3  accuracy 0.5000  9 clients"


def test_lines_off_a_terminal_say_how_long_the_rest_takes_and_come_after_a_minute_of_silence(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(terminal_progress.time, "monotonic", lambda: now[0])
    with StepProgress(1000, "training", silent=False) as progress:
        progress._left = TimeLeft(1000, lambda: now[0])
        for step in range(1, 9):
            now[0] += 25.0
            progress.advance(step, "")
    # Lines at the 3rd step (75 s of silence) and the 6th; 25 s a step are left for the others.
    assert capsys.readouterr().err.splitlines() == [
        "training 3/1000    6 h 56 min left",
        "training 6/1000    6 h 55 min left",
    ]


def test_silent_progress_writes_nothing(capsys):
    with StepProgress(3, "training", silent=True) as progress:
        progress.say("reading")
        progress.advance(3, "loss 1", "measured")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_bar_keeps_count_and_time_left_in_a_narrow_terminal_and_loses_no_word(capsys, monkeypatch, width):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(width))
    with RoundProgress(40, silent=False, target=("aggregators", 8.0)) as progress:
        epsilons = {"release": 1.25, "aggregators": 1.5, "local": 12.0}
        progress.round(RoundReport(6, 40, 18, 2, {"accuracy": 0.5}, epsilons, ""))
        progress._bar.refresh()
        shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().err)
    last = shown[shown.rindex("round ") :]
    assert " 6/40 " in last
    assert re.search(r"-:--:--|\d:\d\d:\d\d", last)
    words = " ".join(last.split())
    for word in ("accuracy", "0.5000", "eps", "1.25,", "1.5 of 8,", "local 12", "18", "refused)"):
        assert word in words, word
    assert "…" not in last


def test_a_bar_shows_brackets_as_they_are(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as in a terminal
    monkeypatch.setenv("COLUMNS", "200")
    with StepProgress(3, "training", silent=False) as progress:
        progress.say("tokenising data[/old]/a.txt")
    assert "tokenising data[/old]/a.txt" in capsys.readouterr().err
