"""The files that all frameworks of `bench.rounds` read: base, first adapter, every client's records.

Takes a kind of work and numbers; writes a folder that `bench.rounds.work.load_work` reads. MNIST: the 60,000 images are
divided evenly over 10,000 clients, six each, of which the first ones are used; so a client does the same whatever their
number. The base is pre-trained on Fashion-MNIST as the shipped configuration says. Next word: sixteen sequences of each
of the users with the most, on the base that ships.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from experiments.datasets import load_images, load_posts, partition
from experiments.language.bases import load_base, shipped_base
from experiments.language.sequences import sequences_of
from experiments.models import CnnConfig, PretrainRecipe, pretrained_base
from fl_core.adapters import attach_adapter, flat_adapter
from fl_core.config import LoraSettings, RunConfig
from fl_core.config_file import load_config
from fl_core.frozen_prefix import frozen_prefix
from secagg.errors import SottoError

__all__ = ["IMAGES_EACH", "MOST_CLIENTS", "SEQUENCES_EACH", "prepare"]

IMAGES_EACH, SEQUENCES_EACH = 6, 16
MOST_CLIENTS = 10_000  # of MNIST
_LEARNING_RATES = {"mnist": 0.5, "next_word": 1.0}
_AT_ONCE = 2048


def prepare(folder: Path, kind: str, inputs: str, rank: int, clients: int, say: Callable[[str], None]) -> None:
    """Write one work's files; `alpha` is twice the rank, as shipped.

    Args:
        folder: an existing, empty folder.
        kind: `mnist` or `next_word`.
        inputs: `raw` or `stored`.
        rank: of the adapter.
        clients: how many have records here; the first ones are the same for any number.
        say: told in words what takes long.

    Raises:
        SottoError: if there are not so many clients, or the data is not here.
    """
    config = load_config(Path(str(files("experiments") / "configs" / f"{kind}.yaml")), [])
    alpha = 2.0 * rank
    settings = LoraSettings(rank, alpha, list(config.lora.targets), list(config.lora.blocks), seed=config.lora.seed)
    maker = _images if kind == "mnist" else _sequences
    x, y, adapter, blocks = maker(folder, inputs == "stored", clients, config, settings, say)
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", y)
    np.save(folder / "adapter.npy", adapter.numpy())
    said = {
        "kind": kind,
        "inputs": inputs,
        "rank": rank,
        "alpha": alpha,
        "targets": settings.targets,
        "blocks": blocks,
        "learning_rate": _LEARNING_RATES[kind],
    }
    (folder / "work.json").write_text(json.dumps(said))


def _images(
    folder: Path, stored: bool, clients: int, config: RunConfig, settings: LoraSettings, say: Callable[[str], None]
) -> tuple[NDArray[Any], NDArray[np.int64], Tensor, list[int]]:
    data, public, recipe = load_images("mnist"), load_images("fashion_mnist"), config.model.pretrain
    say("pre-training on fashion_mnist (public), or reading it from the cache")
    first, second = config.model.channels
    base = pretrained_base(
        CnnConfig.for_images(public.image_size, (first, second), public.classes),
        public,
        PretrainRecipe(
            epochs=recipe.epochs,
            batch_size=recipe.batch_size,
            learning_rate=recipe.learning_rate,
            seed=recipe.seed,
            shift=recipe.shift,
            label_smoothing=recipe.label_smoothing,
        ),
    ).model
    torch.save({name: value.contiguous() for name, value in base.state_dict().items()}, folder / "base.pt")
    if clients > MOST_CLIENTS:
        raise SottoError(f"{clients} clients of mnist were asked for; allowed: at most {MOST_CLIENTS}")
    rows = np.stack([part[:IMAGES_EACH] for part in partition(data.train_y, MOST_CLIENTS)[:clients]])
    x, y = data.train_x[rows], data.train_y[rows]
    if stored:
        with torch.no_grad():
            parts = torch.from_numpy(x).flatten(0, 1).split(_AT_ONCE)
            x = torch.cat([base.features(part) for part in parts]).unflatten(0, y.shape).numpy()
    return x, y, flat_adapter(attach_adapter(base, settings)), []


def _sequences(
    folder: Path, stored: bool, clients: int, config: RunConfig, settings: LoraSettings, say: Callable[[str], None]
) -> tuple[NDArray[Any], NDArray[np.int64], Tensor, list[int]]:
    say("tokenising the posts, or reading them from the cache")
    posts = load_posts("stackoverflow")
    base, tokenizer = load_base("mini")
    length = config.data.sequence_length
    sequences = sequences_of(posts.train, posts.digest + "train", tokenizer, length)
    sizes = np.bincount(sequences.users)
    owners = np.argsort(-sizes, kind="stable")[:clients]
    if len(owners) < clients or sizes[owners[-1]] < SEQUENCES_EACH:
        raise SottoError(f"{clients} users with {SEQUENCES_EACH} sequences each are more than stackoverflow has")
    rows = np.stack([np.flatnonzero(sequences.users == owner)[:SEQUENCES_EACH] for owner in owners])
    x: NDArray[Any] = sequences.ids[rows].astype(np.int64)
    y = sequences.labels()[rows]
    count = int(base.config.num_hidden_layers)  # type: ignore[union-attr,arg-type]
    blocks = sorted(block % count for block in settings.blocks)
    model = attach_adapter(base, settings)
    adapter = flat_adapter(model)
    if not stored:
        (folder / "base").symlink_to(shipped_base().resolve())
        return x, y, adapter, blocks
    prefix = frozen_prefix(model)
    assert prefix is not None
    parts = torch.from_numpy(x).flatten(0, 1).split(_AT_ONCE)
    states = torch.cat([prefix.states({"input_ids": part}) for part in parts]).unflatten(0, y.shape[:2])
    _tail(prefix.skipped).save_pretrained(str(folder / "base"))  # type: ignore[operator]
    return states.numpy(), y, adapter, [block - prefix.skipped for block in blocks]


def _tail(skipped: int) -> nn.Module:
    """The shipped base without its first blocks, for inputs that have been through them already."""
    whole, _ = load_base("mini")
    config: Any = type(whole.config).from_dict({**whole.config.to_dict(), "n_layer": whole.config.n_layer - skipped})  # type: ignore[operator,union-attr]
    tail: nn.Module = type(whole)(config)
    state = {}
    for name, value in whole.state_dict().items():
        head, mark, rest = name.partition(".h.")
        number, _, inner = rest.partition(".")
        if not mark:
            state[name] = value
        elif int(number) >= skipped:
            state[f"{head}{mark}{int(number) - skipped}.{inner}"] = value
    tail.load_state_dict(state)
    with torch.no_grad():
        tail.transformer.wpe.weight.zero_()  # type: ignore[union-attr,operator] # positions are in the states
    return tail.eval()
