"""What users write: configurations, `key=value` overrides, sweeps, recipes of pre-training.

What is accepted must be the same when it is saved and loaded again: that is how a run is resumed.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from bench.fuzz.mutations import mixed
from bench.fuzz.oracle import Surface
from bench.fuzz.values import ODD, odd_yaml
from bench.places import ROOT
from experiments.language.recipe import PretrainingRecipe, load_recipe
from experiments.sweeps import load_sweep
from fl_core.config import RunConfig
from fl_core.config_file import load_config, save_config, to_dict

__all__ = ["config_file", "overrides", "recipe_file", "sweep_file"]

_CONFIGS = ROOT / "experiments" / "configs"


def _documents(*names: str) -> tuple[list[bytes], list[Any]]:
    texts = [(_CONFIGS / name).read_bytes() for name in names]
    return texts, [yaml.safe_load(text) for text in texts]


def _same_again(folder: Path, load: Callable[[Path, list[str]], Any]) -> Callable[[Any, Any], str | None]:
    def wrong(case: Any, found: Any) -> str | None:
        path = folder / "again.yaml"
        save_config(found, path)
        again = load(path, [])
        # NaN is no value of a configuration, and would not be equal to itself.
        same = json.dumps(to_dict(again), allow_nan=False) == json.dumps(to_dict(found), allow_nan=False)
        return None if same else "a configuration was read that is another when it is saved and loaded"

    return wrong


def config_file(folder: Path) -> Surface:
    """A run's YAML."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "run.yaml"
    texts, documents = _documents("mnist.yaml", "demo_words.yaml", "next_word.yaml", "demo.yaml")

    def draw(rng: random.Random) -> bytes:
        return mixed(rng, texts, odd_yaml(*documents))

    def read(case: bytes) -> RunConfig:
        path.write_bytes(case)
        return load_config(path, [])

    return Surface("configurations", draw, read, _same_again(folder, load_config), places=(path.name,),
                   tries=8_000)  # fmt: skip


_KEYS = (
    "privacy.epsilon", "privacy.noise_multiplier", "privacy.delta", "privacy.trust", "privacy.mechanism",
    "privacy.clip_norm", "privacy.budget", "federation.clients", "federation.n_min", "federation.rounds",
    "federation.sample_rate", "lora.rank", "lora.targets", "lora.blocks", "lora.ranks", "data.name", "data.folder",
    "server.learning_rate", "server.optimizer", "engine.workers", "engine.features_gib", "aggregation.ring_bits",
    "aggregation.parties", "aggregation.timeout_s", "noise.by", "noise.dropout", "simulation.noise_cohort", "privacy",
    "privacy.epsilom", "privcy.epsilon", "x", "", ".", "privacy.", ".epsilon", "lora.targets.0", "lora.ranks.fc",
    "privacy.epsilon.x", "privacy[epsilon]", "lora.ranks[fc]", "a" * 3000, "é", "privacy..epsilon", "privacy.epsilon ",
)  # fmt: skip
_VALUES = (
    "1", "0", "-1", "0.5", "1e400", "nan", "inf", "-inf", ".inf", ".nan", "null", "true", "", "[", "]", "{", "}",
    "{a: 1}", "[1, 2]", "[fc]", "[-1]", "${privacy.delta}", "${", "${oc.env:HOME}", "${x}", "???",
    "distributed", "local",
    "none", "'", '"', "'x'", "a=b", "=", "1_000", "0x10", "1:30", "2020-01-01", "!!python/object:os.system",
    "*a", "&a 1",
    "1" * 5000, "9" * 25, "[" * 5000, "{" * 5000, "x" * 5000, "\x00", "\n", "1\n2", "a: b", "- a", "\u2028",
    "é", "[[1]]",
)  # fmt: skip


def overrides(folder: Path) -> Surface:
    """What follows the file on the command line."""
    folder.mkdir(parents=True, exist_ok=True)
    path = _CONFIGS / "mnist.yaml"

    def draw(rng: random.Random) -> list[str]:
        drawn = []
        for _ in range(rng.choice([1, 1, 2])):
            value = rng.choice(_VALUES) if rng.random() < 0.7 else str(rng.choice(ODD))
            item = f"{rng.choice(_KEYS)}{rng.choice(['=', '=', '=', '=', '==', '', ':', ' = '])}{value}"
            if rng.random() < 0.3:
                at = rng.randrange(len(item) + 1)
                item = item[:at] + rng.choice(["", "x", ".", "=", "[", "{", "\x00", "ß"]) + item[at + 1 :]
            drawn.append(item)
        return drawn

    def read(case: list[str]) -> RunConfig:
        return load_config(path, case)

    return Surface("key=value on the command line", draw, read, _same_again(folder, load_config),
                   places=(path.name, "override"), tries=8_000)  # fmt: skip


def sweep_file(folder: Path) -> Surface:
    """A sweep's YAML."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "sweep.yaml"
    (folder / "mnist.yaml").write_bytes((_CONFIGS / "mnist.yaml").read_bytes())
    document = {
        "base": "mnist.yaml",
        "common": ["federation.clients=50"],
        "repeats": 2,
        "runs": {"a": ["privacy.epsilon=0.5"], "b": ["privacy.trust=central"]},
    }
    good = [yaml.safe_dump(document).encode(), yaml.safe_dump({**document, "repeats": 1}).encode()]

    def draw(rng: random.Random) -> bytes:
        return mixed(rng, good, odd_yaml(document))

    def read(case: bytes) -> list[tuple[str, RunConfig]]:
        path.write_bytes(case)
        return load_sweep(path, [])

    def wrong(case: bytes, found: list[tuple[str, RunConfig]]) -> str | None:
        names = [name for name, _ in found]
        return None if len(set(names)) == len(names) > 0 else f"runs of a sweep are called {names}"

    return Surface("sweeps", draw, read, wrong, places=(folder.name,), tries=3_000)


def recipe_file(folder: Path) -> Surface:
    """A recipe of `sotto pretrain`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "recipe.yaml"
    texts, documents = _documents("pretrain_mini.yaml", "pretrain_distil.yaml")

    def draw(rng: random.Random) -> bytes:
        return mixed(rng, texts, odd_yaml(*documents))

    def read(case: bytes) -> PretrainingRecipe:
        path.write_bytes(case)
        return load_recipe(path, [])

    return Surface("recipes of pre-training", draw, read, _same_again(folder, load_recipe),
                   places=(path.name,), tries=4_000)  # fmt: skip
