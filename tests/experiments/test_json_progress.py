"""Progress for scripts: every line is one JSON object with what was released, and the display is otherwise silent."""

from __future__ import annotations

import json

import click
import pytest

from experiments.commands.progress_option import Progress, round_progress, step_progress
from experiments.json_progress import JsonProgress
from experiments.progress import target_of
from experiments.terminal_progress import RoundProgress, StepProgress
from fl_core.round_report import RoundReport
from tests.fl_core.tiny import tiny_config


def lines(capsys):
    out, err = capsys.readouterr()
    assert not out
    return [json.loads(line) for line in err.splitlines()]


def test_a_run_is_told_line_by_line(capsys):
    with JsonProgress(2, "demo", ("release", 8.0)) as progress:
        progress.say("sizing the noise")
        progress.say("")
        progress.note('a "note"\nof two lines')
        for number in (1, 2):
            scores = {"accuracy": 0.5, "test_loss": float("nan")}
            epsilons = {"release": 1.5, "aggregators": 2.0, "local": None}
            progress.round(RoundReport(number, 2, 9, 1, scores, epsilons, ""))
    said, noted, first, second = lines(capsys)
    assert said == {"event": "say", "title": "demo", "text": "sizing the noise"}
    assert noted == {"event": "note", "title": "demo", "text": 'a "note"\nof two lines'}
    assert first == {
        "event": "round", "title": "demo", "round": 1, "rounds": 2, "epsilon_target": 8.0,
        "epsilon_target_view": "release", "survivors": 9, "refused": 1,
        "epsilon": {"release": 1.5, "aggregators": 2.0, "local": None}, "message": "", "seconds_left": None,
        "scores": {"accuracy": 0.5, "test_loss": None},
    }  # fmt: skip
    assert second["seconds_left"] == 0.0


def test_steps_have_their_facts_as_numbers_or_else_their_words(capsys):
    progress = JsonProgress(10, "pre-training")
    progress.advance(1, "loss 2.5", "held-out perplexity 9", {"loss": 2.5, "held_out_perplexity": float("inf")})
    progress.advance(2, "loss 2.4", "measured")
    first, second = lines(capsys)
    assert (first["step"], first["loss"], first["held_out_perplexity"]) == (1, 2.5, None)
    assert (second["step"], second["text"]) == (2, "loss 2.4  measured")


@pytest.mark.parametrize(
    ("overrides", "target"),
    [
        (["privacy.epsilon=8", "aggregation.backend=smpc"], ("aggregators", 8.0)),
        (["privacy.epsilon=8"], ("release", 8.0)),
        (["privacy.epsilon=8", "privacy.trust=local"], ("local", 8.0)),
        (["privacy.epsilon=8", "simulation.noise_cohort=50"], None),
        (["privacy.noise_multiplier=1"], None),
    ],
)
def test_a_run_is_held_to_the_epsilon_of_one_view(overrides, target):
    none = "privacy.noise_multiplier=null" if "epsilon" in overrides[0] else "privacy.epsilon=null"
    assert target_of(tiny_config(none, *overrides)) == target


@pytest.mark.parametrize("as_json", [False, True])
def test_what_is_shown_follows_from_the_options(as_json):
    config = tiny_config()
    assert isinstance(round_progress(Progress.JSON, False, as_json, config), JsonProgress)
    assert isinstance(step_progress(Progress.JSON, False, as_json, 5, "x"), JsonProgress)
    assert isinstance(round_progress(Progress.AUTO, False, as_json, config), RoundProgress)
    assert step_progress(Progress.AUTO, False, as_json, 5, "x")._silent is as_json
    assert isinstance(step_progress(Progress.AUTO, True, as_json, 5, "x"), StepProgress)
    with pytest.raises(click.UsageError, match="exclude each other"):
        round_progress(Progress.JSON, True, as_json, config)
