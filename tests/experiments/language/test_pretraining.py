"""Pre-training: the schedule, exact resumption, and the folder that transformers loads."""

from __future__ import annotations

import contextlib
import itertools
import math
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from experiments.language.corpus import Corpus
from experiments.language.model_folder import score_text, write_base
from experiments.language.packing import blocks_of
from experiments.language.pretraining import Trainer, learning_rate, new_model, perplexity, works_in_bfloat16
from experiments.language.recipe import PretrainingRecipe, ShapeSettings, TrainingSettings
from experiments.language.run_pretraining import run_pretraining
from experiments.language.training_state import TrainingFolder
from fl_core.storage import StorageError
from fl_core.tracking import read_metrics
from secagg.errors import SottoError
from tests.experiments.language.tiny import VOCABULARY, corpus_of, recipe, write_text


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return write_text(tmp_path_factory.mktemp("text") / "words.jsonl")


@pytest.fixture(scope="module")
def made(text):
    return corpus_of(recipe(text))


def ignored(_):
    pass


def train(settings, made, path, resume=False, on_report=ignored):
    with TrainingFolder(path, settings, resume) as folder:
        trainer = Trainer(settings, *made, folder)
        trainer.run(on_report)
    return trainer


def weights(trainer):
    return {name: p.detach().clone() for name, p in trainer.model.named_parameters()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def schedule(steps=100, warmup=10):
    settings = PretrainingRecipe(
        training=TrainingSettings(
            tokens=steps * 32, sequence_length=16, batch_size=2, warmup_steps=warmup, learning_rate=1.0
        )
    )
    return [learning_rate(settings, step) for step in range(steps)]


def test_the_learning_rate_rises_linearly_to_its_peak_and_falls_as_a_cosine_to_a_tenth():
    rates = schedule()
    assert rates[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])
    assert rates[10] == max(rates) == 1.0
    assert all(one > other for one, other in itertools.pairwise(rates[10:]))
    assert rates[55] == pytest.approx(0.55)  # half-way
    assert 0.1 < rates[-1] < 0.101


@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (1, 1), (5, 300), (3, 3)])
def test_the_learning_rate_stays_between_zero_and_its_peak_in_short_runs(steps, warmup):
    assert all(0 < rate <= 1 for rate in schedule(steps, warmup))


class Stop(Exception):
    """Ends a training where a test wants it."""


@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("stop_at", [1, 5])
def test_an_interrupted_and_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    text, made, tmp_path, monkeypatch, stop_at, dropout
):
    settings = recipe(text, dropout=dropout)
    torch.manual_seed(1)
    whole = train(settings, made, tmp_path / "whole")
    step, done = Trainer._step, []

    def until(trainer):
        if len(done) == stop_at:
            raise KeyboardInterrupt
        done.append(1)
        return step(trainer)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "_step", until)
        train(settings, made, tmp_path / "parts")
    torch.manual_seed(2)  # another process starts with other random numbers
    parts = train(settings, made, tmp_path / "parts", resume=True)
    assert parts.step == settings.steps
    assert same(weights(whole), weights(parts))


def test_an_interruption_inside_the_optimisers_step_neither_loses_nor_repeats_it(text, made, tmp_path, monkeypatch):
    settings = recipe(text)
    whole = train(settings, made, tmp_path / "whole")
    step, done = torch.optim.AdamW.step, []

    def interrupted(*arguments):
        done.append(1)
        if len(done) == 3:
            signal.raise_signal(signal.SIGINT)
        return step(*arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(torch.optim.AdamW, "step", interrupted)
        train(settings, made, tmp_path / "parts")
    with TrainingFolder(tmp_path / "parts", settings, resume=True) as folder:
        assert Trainer(settings, *made, folder).step == 3
    assert same(weights(whole), weights(train(settings, made, tmp_path / "parts", resume=True)))


def test_training_draws_nothing_from_the_processes_random_numbers(text, made, tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(recipe(text, dropout=0.2), made, tmp_path)
    assert torch.equal(torch.rand(3), expected)


def test_microbatches_make_the_same_step_as_a_whole_batch_up_to_rounding(text, made, tmp_path):
    settings = recipe(text, steps=3, batch_size=5, tokens=3 * 5 * 16)
    whole = train(settings, made, tmp_path / "whole")
    for microbatch in (1, 2, 9):
        training = replace(settings.training, microbatch=microbatch)
        parts = train(replace(settings, training=training), made, tmp_path / str(microbatch))
        for one, other in zip(weights(whole).values(), weights(parts).values(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=2e-5)


def test_a_pass_sees_every_block_once_and_the_next_pass_in_another_order(text, made, tmp_path):
    settings = recipe(text, steps=1000)
    with TrainingFolder(tmp_path, settings) as folder:
        trainer = Trainer(settings, *made, folder)
    steps = len(trainer.blocks) // 2
    one, two = (
        [tuple(block) for step in range(steps) for block in trainer._batch(first + step)] for first in (0, steps)
    )
    assert len(set(one)) >= len(set(map(tuple, trainer.blocks))) - 1  # an odd one waits for the next pass
    assert one != two
    assert set(one) <= set(map(tuple, trainer.blocks))


def test_a_model_that_knows_nothing_has_the_perplexity_of_its_vocabulary(made):
    corpus, tokenizer = made
    model = new_model(ShapeSettings(1, 16, 2, 32), tokenizer, 0.1, 0)
    with torch.no_grad():
        model.transformer.wte.weight.zero_()  # tied: every logit is 0
    blocks = torch.from_numpy(blocks_of(corpus.held_out, 16).astype(np.int64))
    assert perplexity(model, blocks, contextlib.nullcontext) == pytest.approx(VOCABULARY, rel=1e-5)
    assert model.training  # as before


def test_the_perplexity_does_not_depend_on_how_blocks_are_batched(made):
    corpus, tokenizer = made
    model = new_model(ShapeSettings(1, 16, 2, 32), tokenizer, 0.0, 0)
    blocks = torch.from_numpy(blocks_of(corpus.held_out, 16).astype(np.int64))
    expected = perplexity(model, blocks, contextlib.nullcontext)
    assert perplexity(model, blocks, contextlib.nullcontext, batch=3) == pytest.approx(expected, rel=1e-5)


def test_held_out_text_shorter_than_a_sequence_is_measured_too(text, made, tmp_path):
    corpus, tokenizer = made
    short = Corpus(corpus.train, corpus.held_out[:5], 1, corpus.once)
    with TrainingFolder(tmp_path, recipe(text)) as folder:
        trainer = Trainer(recipe(text), short, tokenizer, folder)
    assert trainer.held_out_perplexity() > 100  # untrained
    assert trainer.held_out_perplexity(2) > 100


def test_initial_weights_depend_on_the_seed_alone(made):
    shape, tokenizer = ShapeSettings(1, 16, 2, 32), made[1]
    torch.manual_seed(1)
    one = new_model(shape, tokenizer, 0.0, 7).state_dict()
    torch.manual_seed(2)
    assert same(one, new_model(shape, tokenizer, 0.0, 7).state_dict())
    assert not same(one, new_model(shape, tokenizer, 0.0, 8).state_dict())


def test_reports_come_where_the_held_out_text_is_measured_and_at_the_end(text, made, tmp_path):
    reports = []
    settings = recipe(text, steps=110, eval_every=60)
    train(settings, made, tmp_path, on_report=reports.append)
    assert [(report.step, report.held_out_perplexity is not None) for report in reports] == [
        (50, False),
        (60, True),
        (100, False),
        (110, False),
    ]
    assert reports[-1].loss < reports[0].loss
    rows = read_metrics(tmp_path / "pretraining" / "metrics.jsonl", "step")
    assert [row["step"] for row in rows] == [50, 60, 100, 110]
    assert rows[1]["held_out_perplexity"] == reports[1].held_out_perplexity


@pytest.mark.parametrize("rate", [1e30, 1e4])
def test_a_run_that_diverges_is_a_sentence_and_keeps_no_broken_weights(text, made, tmp_path, rate):
    settings = recipe(text, learning_rate=rate, warmup_steps=0)
    with pytest.raises(
        SottoError, match=r"pre-training diverged by step \d+: the .* is (nan|inf); lower training.lear"
    ):
        train(settings, made, tmp_path)
    with TrainingFolder(tmp_path, settings, resume=True) as folder:
        assert all(torch.isfinite(p).all() for p in weights(Trainer(settings, *made, folder)).values())


def test_too_little_text_for_one_batch_is_a_sentence(text, made, tmp_path):
    settings = recipe(text, batch_size=10_000)
    with (
        TrainingFolder(tmp_path, settings) as folder,
        pytest.raises(SottoError, match=r"sequences of 16 tokens; allowed: at least training.batch_size \(10000\)"),
    ):
        Trainer(settings, *made, folder)


def test_precision_is_as_asked_for():
    cpu = torch.device("cpu")
    assert works_in_bfloat16("bfloat16", cpu)
    assert not works_in_bfloat16("float32", cpu)
    assert isinstance(works_in_bfloat16("auto", cpu), bool)


def test_bfloat16_changes_the_products_and_not_the_weights_type(text, made, tmp_path):
    trainer = train(recipe(text, steps=2, precision="bfloat16"), made, tmp_path)
    assert {p.dtype for p in trainer.model.parameters()} == {torch.float32}
    assert math.isfinite(trainer.held_out_perplexity())


@pytest.fixture(scope="module")
def finished(text, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "words"
    said, reports = [], []
    scores = run_pretraining(recipe(text, steps=60, eval_every=30), path, False, False, said.append, reports.append)
    return path, scores, said, reports


def test_the_folder_loads_with_transformers_and_gives_the_same_logits_up_to_rounding(text, made, tmp_path):
    trainer = train(recipe(text), made, tmp_path / "run")
    tokenizer = made[1]
    write_base(tmp_path / "base", trainer.model, tokenizer, recipe(text), {"held-out perplexity": 12.3})
    model = AutoModelForCausalLM.from_pretrained(str(tmp_path / "base"), dtype="auto")
    assert {p.dtype for p in model.parameters()} == {torch.float16}
    loaded = AutoTokenizer.from_pretrained(str(tmp_path / "base"))
    assert loaded("the cat 7.")["input_ids"] == tokenizer("the cat 7.")["input_ids"]
    ids = torch.tensor([tokenizer("the small dog sees a house.")["input_ids"]])
    with torch.no_grad():
        expected = trainer.model.eval()(ids).logits
        torch.testing.assert_close(model.float().eval()(ids).logits, expected, rtol=1e-2, atol=1e-3)
    assert {p.dtype for p in trainer.model.parameters()} == {torch.float32}  # the trained model is not rounded
    assert model.config.bos_token_id == model.config.eos_token_id == tokenizer.eos_token_id


def test_a_finished_folder_holds_model_card_and_scores_and_nothing_to_resume(finished):
    path, scores, said, reports = finished
    assert {file.name for file in path.iterdir()} >= {"config.json", "model.safetensors", "tokenizer.json", "README.md"}
    assert not [file.name for file in path.iterdir() if file.name.startswith(".model")]
    left = {file.name for file in (path / "pretraining").iterdir()}
    assert left == {"recipe.yaml", "metrics.jsonl", "scores.json", "tensorboard"}
    card = (path / "README.md").read_text()
    assert "license: other" in card
    assert "Words." in card
    assert f"| held-out perplexity | {score_text(scores['held-out perplexity'])} |" in card
    assert said[-2:] == ["", "measuring the held-out text"]
    assert [report.step for report in reports] == [30, 50, 60]


def test_the_scores_are_those_of_the_written_model_and_its_baselines(finished, made):
    path, scores, *_ = finished
    corpus, _ = made
    model = AutoModelForCausalLM.from_pretrained(str(path), dtype=torch.float32)
    blocks = torch.from_numpy(blocks_of(corpus.held_out, 16).astype(np.int64))
    again = perplexity(model, blocks, contextlib.nullcontext)
    assert scores["held-out perplexity"] == pytest.approx(again, rel=1e-2)
    assert scores["held-out perplexity"] < VOCABULARY
    assert 1 < scores["bigram perplexity (Kneser-Ney)"] < scores["unigram perplexity"] < VOCABULARY
    assert scores["held-out tokens"] == len(corpus.held_out)
    assert scores["tokens a pass, repetitions counted"] == len(corpus.train)
    assert scores["tokens of the text"] == corpus.once


def test_a_disk_that_fills_up_while_the_model_is_written_is_a_sentence(made, tmp_path, monkeypatch):
    from safetensors import SafetensorError

    def full(*_, **__):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    model = new_model(ShapeSettings(1, 16, 2, 32), made[1], 0.0, 0)
    monkeypatch.setattr(type(model), "save_pretrained", full)
    with pytest.raises(StorageError, match="No space left on device .*; free space, then use --resume"):
        write_base(tmp_path / "base", model, made[1], PretrainingRecipe(), {})
    assert list((tmp_path / "base").iterdir()) == []


@pytest.mark.parametrize(("value", "shown"), [(1234567.0, "1,234,567"), (50_000.0, "50,000"), (12.3456, "12.35")])
def test_scores_are_shown_whole_when_large(value, shown):
    assert score_text(value) == shown
