"""Pre-trained bases on disk: one safetensors file per shape, data, recipe and torch version.

Takes what determines the weights; gives the network with them. It must never return weights that were made
from other inputs or whose bytes changed on disk: such a file is rebuilt, with a warning.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from experiments.cache_root import cache_root
from experiments.datasets.image_data import ImageData
from experiments.models.cnn import Cnn, CnnConfig
from experiments.models.pretrain import PretrainProgress, PretrainRecipe, accuracy, check_fit, pretrain
from experiments.whole_files import write_whole

__all__ = ["PretrainedBase", "base_key", "cache_folder", "pretrained_base"]

_FORMAT = 2  # raise when cnn.py or pretrain.py changes what the same inputs give


@dataclass(frozen=True)
class PretrainedBase:
    """A base network.

    Attributes:
        model: in eval mode; the caller freezes it.
        key: SHA-256 (hex) of everything that determines the weights.
        path: the cache file, or None if it could not be written.
        from_cache: True if nothing was trained.
        test_accuracy: on the public data's test split.
    """

    model: Cnn
    key: str
    path: Path | None
    from_cache: bool
    test_accuracy: float


def cache_folder() -> Path:
    """`$SOTTO_CACHE/models`, or `~/.cache/sotto/models`."""
    return cache_root() / "models"


def base_key(config: CnnConfig, data: ImageData, recipe: PretrainRecipe) -> str:
    """Digest of network shape, data content, recipe and torch version."""
    identity = {
        "format": _FORMAT,
        "config": asdict(config),
        "data": data.digest(),
        "recipe": asdict(recipe),
        "torch": torch.__version__,
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def pretrained_base(
    config: CnnConfig,
    data: ImageData,
    recipe: PretrainRecipe,
    folder: Path | None = None,
    progress: Callable[[PretrainProgress], None] | None = None,
) -> PretrainedBase:
    """The network trained by `recipe` on `data`, from the cache when it is there.

    Args:
        config: shape of the network.
        data: public images.
        recipe: how to train.
        folder: where to cache; default `cache_folder()`.
        progress: called after every epoch that is really trained.

    Raises:
        SottoError: the shape does not fit the data, or the training diverged.

    Warns:
        RuntimeWarning: a cached file was damaged and is rebuilt, or the cache cannot be written.
    """
    check_fit(config, data)
    key = base_key(config, data, recipe)
    path = (cache_folder() if folder is None else folder) / f"cnn-{data.name}-{key[:16]}.safetensors"
    if path.exists():
        try:
            model, reached = _read(path, key, config)
            return PretrainedBase(model, key, path, from_cache=True, test_accuracy=reached)
        except (SafetensorError, OSError, ValueError, RuntimeError) as error:
            warnings.warn(f"cached base {path} is damaged and is trained again: {error}", RuntimeWarning, stacklevel=2)
    model = pretrain(config, data, recipe, progress)
    reached = accuracy(model, torch.from_numpy(data.test_x), torch.from_numpy(data.test_y))
    try:
        _write(path, key, model.state_dict(), reached)
    except OSError as error:
        warnings.warn(f"base cannot be cached in {path.parent}: {error}", RuntimeWarning, stacklevel=2)
        return PretrainedBase(model, key, None, from_cache=False, test_accuracy=reached)
    return PretrainedBase(model, key, path, from_cache=False, test_accuracy=reached)


def _write(path: Path, key: str, state: dict[str, Tensor], reached: float) -> None:
    tensors = {name: tensor.detach().contiguous() for name, tensor in state.items()}
    content = save(tensors, {"key": key, "tensors": _tensor_digest(tensors), "test_accuracy": repr(reached)})
    write_whole(path, content)


def _read(path: Path, key: str, config: CnnConfig) -> tuple[Cnn, float]:
    """The network in a cache file; raises if it is not exactly what was written for this key."""
    with safe_open(path, framework="pt") as stored:
        said = stored.metadata() or {}
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (not a dict)
    if said.get("key") != key:
        raise ValueError("it was made from other inputs")
    if said.get("tensors") != _tensor_digest(tensors):
        raise ValueError("its tensors are not those that were written")
    with torch.random.fork_rng(devices=[]):  # construction draws initial weights that are overwritten at once
        model = Cnn(config)
    model.load_state_dict(tensors)
    return model.eval(), float(said["test_accuracy"])


def _tensor_digest(tensors: dict[str, Tensor]) -> str:
    state = hashlib.sha256()
    for name in sorted(tensors):
        array = tensors[name].numpy()
        state.update(f"{name}|{array.dtype.str}{array.shape}|".encode())
        state.update(array.tobytes())
    return state.hexdigest()
