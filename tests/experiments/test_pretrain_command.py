"""`sotto pretrain` from recipe to model folder: mistakes, interruption, resumption, and what it prints."""

from __future__ import annotations

import json
import shlex

import pytest
import torch
from transformers.utils import logging as transformers_logging

from experiments.language.pretraining import Trainer
from tests.experiments.language.tiny import write_recipe


@pytest.fixture(autouse=True)
def as_in_a_new_process():
    transformers_logging.enable_progress_bar()
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    transformers_logging.disable_progress_bar()


@pytest.fixture
def recipe(tmp_path):
    return write_recipe(tmp_path)


def test_a_base_is_trained_and_its_scores_are_told(sotto, recipe, tmp_path):
    code, out, err = sotto("pretrain", recipe, "training.threads=1", "--out", tmp_path / "base")
    assert code == 0
    assert (tmp_path / "base" / "model.safetensors").is_file()
    assert out.startswith("held-out perplexity: ")
    assert out.splitlines()[-1] == f"model: {tmp_path / 'base'} (sotto run CONFIG.yaml model.base={tmp_path / 'base'})"
    lines = err.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("pre-training 8/8  loss 5.")
    assert "held-out perplexity 2" in lines[1]


def test_json_is_one_object_and_nothing_else(sotto, recipe, tmp_path):
    code, out, err = sotto("pretrain", recipe, "--out", tmp_path / "base", "--json")
    assert (code, err) == (0, "")
    scores = json.loads(out)
    assert out.count("\n") == 1
    assert scores.pop("folder") == str(tmp_path / "base")
    assert scores == json.loads((tmp_path / "base" / "pretraining" / "scores.json").read_text())


def test_quiet_prints_the_scores_alone(sotto, recipe, tmp_path):
    code, out, err = sotto("pretrain", recipe, "--out", tmp_path / "base", "--quiet")
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == 9


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["training.token=5"], "unknown key training.token; did you mean tokens"),
        (["shape.heads=3"], "shape.width is 16; allowed: a multiple of shape.heads (3)"),
        (["tokenizer.vocabulary=10"], "tokenizer.vocabulary is 10; allowed: 257 or more"),
        (["text.sources=[{path: nowhere.txt}]"], "text source nowhere.txt is not there"),
        (["training.batch_size=5000"], "allowed: at least training.batch_size (5000)"),
        (["training.learning_rate=1e30"], "pre-training diverged by step"),
        (["--resume"], "holds no pre-training to resume"),
    ],
)
def test_a_mistake_is_one_sentence(mistake, recipe, tmp_path, overrides, says):
    assert says in mistake("pretrain", recipe, *overrides, "--out", tmp_path / "base", "--quiet")


def test_a_recipe_with_a_wrong_key_or_that_is_not_there_is_one_sentence(mistake, recipe, tmp_path):
    assert "gone.yaml does not exist" in mistake("pretrain", tmp_path / "gone.yaml")
    recipe.write_text(recipe.read_text() + "licens: mit\n")
    assert "unknown key licens; did you mean licence?" in mistake("pretrain", recipe)


@pytest.mark.parametrize("silent", [(), ("--json",)])
def test_an_interrupted_run_says_how_to_go_on_and_that_finishes_it(sotto, recipe, tmp_path, monkeypatch, silent):
    step = Trainer._step

    def until_the_fifth(trainer):
        if trainer.step == 5:
            raise KeyboardInterrupt
        return step(trainer)

    source = f"text.sources=[{{path: {tmp_path / 'words.jsonl'}, repeat: 2}}]"
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", until_the_fifth)
        code, out, err = sotto("pretrain", recipe, source, "--out", tmp_path / "base", *silent)
    assert (code, out) == (130, "")
    sentence = err.splitlines()[-1]
    assert sentence.startswith("interrupted; every finished step is kept. To go on: sotto pretrain ")
    assert not (tmp_path / "base" / "model.safetensors").exists()

    began_at = []
    monkeypatch.setattr(Trainer, "_step", lambda trainer: (began_at.append(trainer.step), step(trainer))[1])
    again = shlex.split(sentence.partition("To go on: ")[2])
    assert again[0] == "sotto"
    code, out, _ = sotto(*again[1:])
    assert code == 0
    assert began_at == [5, 6, 7]
    assert (tmp_path / "base" / "model.safetensors").is_file()


def test_a_finished_model_is_only_replaced_when_asked(sotto, mistake, recipe, tmp_path):
    arguments = ("pretrain", recipe, "training.tokens=64", "--out", tmp_path / "base", "--quiet")
    assert sotto(*arguments)[0] == 0
    assert "already holds a model; use --resume, --overwrite" in mistake(*arguments)
    assert "is finished; use --overwrite" in mistake(*arguments, "--resume")
    assert sotto(*arguments, "--overwrite")[0] == 0
