"""What Sotto keeps for itself and reads again: rows of frozen layers, pre-trained bases, unfinished pre-trainings.

Rows and bases carry digests: a value that was not written is never given, and what is damaged is computed again with a
warning, which counts as refused here.
"""

from __future__ import annotations

import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bench.fuzz.archives import npz_changed, tensors_changed
from bench.fuzz.mutations import mixed
from bench.fuzz.oracle import Surface
from experiments.datasets.image_data import ImageData
from experiments.frozen_cache.row_file import Damaged, RowFile, write_rows
from experiments.language.corpus import Corpus
from experiments.language.recipe import PretrainingRecipe, TextSettings
from experiments.language.text_sources import TextSource
from experiments.language.tokenizer import train_bpe
from experiments.language.training_state import TrainingFolder
from experiments.models import cache
from experiments.models.cnn import Cnn, CnnConfig
from experiments.models.pretrain import PretrainRecipe
from fl_core.config_file import save_config

__all__ = ["cached_base", "row_file", "training_checkpoint", "training_tokens"]


def row_file(folder: Path) -> Surface:
    """Rows of frozen layers."""
    folder.mkdir(parents=True, exist_ok=True)
    shape, numbers = (6, 2, 4), np.arange(6)
    path = folder / "x.rows"
    rows = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    good = []
    for some in rows:
        with path.open("w+b", buffering=0) as stream:
            write_rows(stream, "key", shape, [some[:4], some[4:]])
        good.append(path.read_bytes())
    headers = [content[:4096] for content in good]

    def other_header(rng: random.Random) -> bytes:
        return mixed(rng, headers).ljust(4096)[:4096] + rng.choice(good)[4096:]

    def read(case: bytes) -> torch.Tensor:
        path.write_bytes(case)
        opened = RowFile(path, "key", shape)
        try:
            return opened.take(numbers)
        finally:
            opened.close()

    def wrong(case: bytes, found: torch.Tensor) -> str | None:
        return None if any(torch.equal(found, some) for some in rows) else "rows were given that nobody wrote"

    return Surface("rows of frozen layers", lambda rng: mixed(rng, good, other_header), read, wrong, (Damaged,),
                   tries=20_000)  # fmt: skip


class _Rebuilt(Exception):
    """Stands for training again."""


def cached_base(folder: Path) -> Surface:
    """A cached base of the image experiment: from the file, or trained again."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = np.random.default_rng(0)
    x, y = drawn.random((60, 1, 8, 8), dtype=np.float32), drawn.integers(0, 3, 60)
    data = ImageData("noise", x[:40], y[:40], x[40:], y[40:], classes=3, source="embedded")
    config = CnnConfig((8, 8), (2, 3), classes=3, kernel=3, grid=2, components=5)
    torch.manual_seed(0)
    model = Cnn(config)
    key = cache.base_key(config, data, PretrainRecipe())
    path = folder / f"cnn-{data.name}-{key[:16]}.safetensors"
    good = []
    for name in ("another key", key):  # the last one is right
        cache._write(path, name, model.state_dict(), 0.5)
        good.append(path.read_bytes())
    right = [tensor.clone() for tensor in model.state_dict().values()]

    def again(*_: Any) -> Any:
        raise _Rebuilt

    def read(case: bytes) -> Any:
        path.write_bytes(case)
        cache.pretrain = again
        cache.base_key = lambda *_: key
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return cache.pretrained_base(config, data, PretrainRecipe(), folder)

    def wrong(case: bytes, found: Any) -> str | None:
        same = all(torch.equal(a, b) for a, b in zip(found.model.state_dict().values(), right, strict=True))
        return None if same else "weights were given that nobody wrote"

    return Surface("cached bases", lambda rng: mixed(rng, good, lambda r: tensors_changed(r, good[1])), read,
                   wrong, (_Rebuilt,), tries=3_000)  # fmt: skip


def _recipe() -> PretrainingRecipe:
    return PretrainingRecipe(TextSettings([TextSource("text.jsonl")]))


def training_checkpoint(folder: Path) -> Surface:
    """The checkpoint of an unfinished pre-training, loaded into its model and optimiser."""
    home = folder / "model"
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    with TrainingFolder(home, _recipe()) as state:
        good = []
        for step in (1, 2):
            model(torch.randn(5, 3)).square().sum().backward()
            optimizer.step()
            state.save(model, optimizer, step)
            good.append((state.state / "checkpoint.safetensors").read_bytes())
        save_config(_recipe(), state.state / "recipe.yaml")

    def read(case: bytes) -> int:
        fresh = nn.Linear(3, 2)
        optimizer = torch.optim.AdamW(fresh.parameters(), lr=0.1)
        with TrainingFolder(home, _recipe(), resume=True) as state:
            (state.state / "checkpoint.safetensors").write_bytes(case)
            step = state.load(fresh, optimizer)
        fresh(torch.ones(5, 3)).sum().backward()
        optimizer.step()
        return step

    def wrong(case: bytes, found: int) -> str | None:
        return None if found >= 0 else f"a training goes on from step {found}"

    return Surface("checkpoints of pre-trainings", lambda rng: mixed(
        rng, good, lambda r: tensors_changed(r, r.choice(good))), read, wrong, places=("checkpoint",),
        tries=1_500)  # fmt: skip


def training_tokens(folder: Path) -> Surface:
    """The tokens of an unfinished pre-training."""
    home = folder / "model"
    corpora = [Corpus(np.arange(50 + n, dtype=np.int32), np.arange(9, dtype=np.int32), 40, 50 + n) for n in (0, 5)]
    tokenizer = train_bpe(["the cat sees a dog"] * 5, 260)
    good = []
    with TrainingFolder(home, _recipe()) as state:
        for corpus in corpora:
            state.keep_corpus(corpus, tokenizer)
            good.append((state.state / "tokens.npz").read_bytes())
    file = home / "pretraining" / "tokens.npz"

    def read(case: bytes) -> Corpus:
        file.write_bytes(case)
        with TrainingFolder(home, _recipe(), resume=True) as state:
            found = state.corpus()
        assert found is not None
        return found[0]

    def wrong(case: bytes, found: Corpus) -> str | None:
        for name in ("train", "held_out"):
            stream = getattr(found, name)
            if stream.dtype != np.int32 or stream.ndim != 1:
                return f"{name} is {stream.dtype} of shape {stream.shape}"
        return None

    return Surface("tokens of pre-trainings", lambda rng: mixed(
        rng, good, lambda r: npz_changed(r, r.choice(good))), read, wrong, places=(file.name,),
        tries=3_000)  # fmt: skip
