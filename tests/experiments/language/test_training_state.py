"""A pre-training's folder: one process at a time, never mixed up, and damage is named."""

from __future__ import annotations

import struct
import subprocess
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch

from experiments.language.pretraining import PretrainingReport
from experiments.language.training_state import TrainingFolder, _check_moments
from fl_core.config import ConfigError
from fl_core.storage import StorageError
from fl_core.tracking import read_metrics
from tests.experiments.language.tiny import corpus_of, recipe, write_text


@pytest.fixture
def settings(tmp_path):
    return recipe(tmp_path / "text.jsonl")


def model_and_optimizer(steps=2, width=3):
    torch.manual_seed(steps)
    model = torch.nn.Linear(width, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(5, width)).square().sum().backward()
        optimizer.step()
    return model, optimizer


def report(step):
    return PretrainingReport(step, 9, 2.5, None, 10.0)


def test_another_process_is_refused_while_the_folder_is_open(tmp_path, settings):
    code = "import sys, pathlib; from fl_core.storage import lock_folder; lock_folder(pathlib.Path(sys.argv[1]))"
    command = [sys.executable, "-c", code, str(tmp_path / "out")]
    with TrainingFolder(tmp_path / "out", settings):
        second = subprocess.run(command, capture_output=True, text=True, check=False)
        assert f"{tmp_path / 'out'} is in use by another run" in second.stderr
        with pytest.raises(StorageError, match="is in use by another run; wait for it or choose another --out"):
            TrainingFolder(tmp_path / "out", settings, overwrite=True)
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_a_folder_that_holds_something_asks_for_resume_or_overwrite(tmp_path, settings):
    with pytest.raises(StorageError, match="holds no pre-training to resume"):
        TrainingFolder(tmp_path / "out", settings, resume=True)
    with TrainingFolder(tmp_path / "out", settings) as folder:
        folder.save(*model_and_optimizer(), 2)
    with pytest.raises(StorageError, match="already holds a model; use --resume, --overwrite or another --out"):
        TrainingFolder(tmp_path / "out", settings)
    (tmp_path / "out" / "mine.txt").write_text("keep")
    with TrainingFolder(tmp_path / "out", settings, overwrite=True) as folder:
        assert folder.load(*model_and_optimizer(0)) == 0
    assert (tmp_path / "out" / "mine.txt").read_text() == "keep"


def test_somebody_elses_model_is_not_overwritten_unasked(tmp_path, settings):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(StorageError, match="already holds a model"):
        TrainingFolder(tmp_path, settings)


def test_resuming_with_another_recipe_names_the_key(tmp_path, settings):
    TrainingFolder(tmp_path / "out", settings).close()
    other = replace(settings, training=replace(settings.training, learning_rate=0.5))
    with pytest.raises(
        ConfigError, match=r"training.learning_rate is 0.5 now and was 0.001 when it began; use the old"
    ):
        TrainingFolder(tmp_path / "out", other, resume=True)
    TrainingFolder(tmp_path / "out", settings, resume=True).close()  # refused above, and the lock is free


def test_a_finished_training_is_not_begun_anew_by_resume(tmp_path, settings):
    corpus = corpus_of(recipe(write_text(tmp_path / "text.jsonl")))
    with TrainingFolder(tmp_path / "out", settings) as folder:
        folder.keep_corpus(*corpus)
        folder.save(*model_and_optimizer(), 2)
        folder.finish({"held-out perplexity": 3.0})
    with pytest.raises(StorageError, match="is finished; use --overwrite or another --out"):
        TrainingFolder(tmp_path / "out", settings, resume=True)
    with TrainingFolder(tmp_path / "out", settings, overwrite=True) as folder:
        assert folder.corpus() is None
    TrainingFolder(tmp_path / "out", settings, resume=True).close()


def test_a_checkpoint_gives_back_model_optimiser_and_step(tmp_path, settings):
    model, optimizer = model_and_optimizer()
    again, its_optimizer = model_and_optimizer(0)
    with TrainingFolder(tmp_path, settings) as folder:
        folder.save(model, optimizer, 2)
        assert folder.load(again, its_optimizer) == 2
    assert torch.equal(again.weight, model.weight)
    for one, other in zip(optimizer.state.values(), its_optimizer.state.values(), strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("content", [b"", b"\x00" * 64, "cut", "width"])
def test_a_damaged_checkpoint_is_a_sentence(tmp_path, settings, content):
    path = tmp_path / "pretraining" / "checkpoint.safetensors"
    with TrainingFolder(tmp_path, settings) as folder:
        folder.save(*model_and_optimizer(width=4 if content == "width" else 3), 2)
        if content == "cut":
            path.write_bytes(path.read_bytes()[:-9])
        elif content != "width":
            path.write_bytes(content)
        with pytest.raises(
            StorageError, match=r"checkpoint .*checkpoint.safetensors is damaged .*--overwrite"
        ) as caught:
            folder.load(*model_and_optimizer(0))
    assert "\n" not in str(caught.value)


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(tmp_path, settings, monkeypatch):
    from fl_core import storage

    def full(*_):
        raise OSError(28, "No space left on device")

    with TrainingFolder(tmp_path, settings) as folder:
        folder.save(*model_and_optimizer(), 1)
        with (
            monkeypatch.context() as patch,
            pytest.raises(StorageError, match="checkpoint.safetensors cannot be written: No space left"),
        ):
            patch.setattr(storage.os, "replace", full)
            folder.save(*model_and_optimizer(), 2)
        assert folder.load(*model_and_optimizer(0)) == 1


def test_kept_tokens_and_tokenizer_are_read_again(tmp_path, settings):
    corpus, tokenizer = corpus_of(recipe(write_text(tmp_path / "text.jsonl")))
    with TrainingFolder(tmp_path / "out", settings) as folder:
        assert folder.corpus() is None
        folder.keep_corpus(corpus, tokenizer)
        loaded, its_tokenizer = folder.corpus()
    assert (loaded.train == corpus.train).all()
    assert its_tokenizer.get_vocab() == tokenizer.get_vocab()


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped"])
def test_damaged_tokens_are_a_sentence(tmp_path, settings, damage):
    path = tmp_path / "out" / "pretraining" / "tokens.npz"
    with TrainingFolder(tmp_path / "out", settings) as folder:
        folder.keep_corpus(*corpus_of(recipe(write_text(tmp_path / "text.jsonl"))))
        whole = path.read_bytes()
        middle = len(whole) // 2
        flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
        path.write_bytes({"empty": b"", "cut": whole[:-50], "flipped": flipped}[damage])
        with pytest.raises(StorageError, match=r"tokens.npz is damaged \(.*\); remove it"):
            folder.corpus()


def test_moments_that_are_not_adams_are_refused():
    model = torch.nn.Linear(2, 2, bias=False)
    optimizer = torch.optim.AdamW(model.parameters())
    good = {"step": torch.tensor(1.0), "exp_avg": torch.zeros(2, 2), "exp_avg_sq": torch.zeros(2, 2)}
    _check_moments({}, optimizer)
    _check_moments({0: good}, optimizer)
    for wrong in ({0: {**good, "more": torch.zeros(1)}}, {0: {"step": good["step"]}}, {1: good},
                  {0: {**good, "exp_avg": torch.zeros(4)}}):  # fmt: skip
        with pytest.raises(ValueError, match="moments of"):
            _check_moments(wrong, optimizer)


def test_reports_of_steps_that_are_made_again_are_dropped(tmp_path, settings):
    metrics = tmp_path / "pretraining" / "metrics.jsonl"
    with TrainingFolder(tmp_path, settings) as folder:
        for step in (2, 4):
            folder.record(report(step))
        folder.save(*model_and_optimizer(), 3)
        with metrics.open("a") as handle:
            handle.write('{"step": 5, "lo')  # a crash while writing
        folder.load(*model_and_optimizer(0))
        folder.record(report(4))
    assert [row["step"] for row in read_metrics(metrics, "step")] == [2, 4]
    (tmp_path / "pretraining" / "checkpoint.safetensors").unlink()
    with TrainingFolder(tmp_path, settings, resume=True) as folder:
        assert folder.load(*model_and_optimizer(0)) == 0
    assert read_metrics(metrics, "step") == []


@pytest.mark.parametrize("damage", ["packed", "no array", "floats", "flat", "counts", "huge"])
def test_tokens_that_nobody_kept_are_named(tmp_path, settings, damage):
    good = {
        "train": np.arange(9, dtype=np.int32),
        "held_out": np.arange(3, dtype=np.int32),
        "numbers": np.array([5, 9]),
    }
    odd = {
        "packed": {},
        "no array": {},
        "floats": {"train": np.zeros(9, np.float32)},
        "flat": {"held_out": np.zeros((3, 1), np.int32)},
        "counts": {"numbers": np.array([5, 10])},
        "huge": {},
    }
    with TrainingFolder(tmp_path / "out", settings) as folder:
        corpus, tokenizer = corpus_of(recipe(write_text(tmp_path / "text.jsonl")))
        folder.keep_corpus(corpus, tokenizer)
        file = folder.state / "tokens.npz"
        (np.savez_compressed if damage == "packed" else np.savez)(file, **{**good, **odd[damage]})
        if damage in ("no array", "huge"):
            header = b"{'descr': '<i4', 'fortran_order': False, 'shape': (%d,), }" % 2**46
            member = b"\x93NUMPY\x01\0" + struct.pack("<H", len(header) + 1) + header + b"\n"
            with zipfile.ZipFile(file, "w") as archive:
                for name in good:
                    archive.writestr(f"{name}.npy", member if damage == "huge" else b"text")
        with pytest.raises(StorageError, match=r"tokens.npz is damaged \(.*\); remove it"):
            folder.corpus()
