"""How a base language model is pre-trained: the schema of `sotto pretrain`'s YAML, with every default."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from experiments.language.text_sources import TextSource
from fl_core.config import ConfigError
from fl_core.config_file import load_yaml, merge_into

__all__ = ["PretrainingRecipe", "ShapeSettings", "TextSettings", "TokenizerSettings", "TrainingSettings", "load_recipe"]

ACTIVATIONS = ("gelu_pytorch_tanh", "gelu_new", "gelu", "relu", "silu", "tanh")  # transformers' names


@dataclass(frozen=True)
class TextSettings:
    """Which public text, and how much of it is kept for the test perplexity."""

    sources: list[TextSource] = field(default_factory=list)
    held_out_percent: float = 1.0  # of the documents, chosen by each document's digest


@dataclass(frozen=True)
class TokenizerSettings:
    """Where the vocabulary comes from."""

    name: str | None = None  # gpt2, a folder, or a hub name; null: a byte-level BPE trained on the text
    vocabulary: int = 8192  # of the BPE that is trained


@dataclass(frozen=True)
class ShapeSettings:
    """Shape of the GPT-2 architecture."""

    layers: int = 4
    width: int = 192
    heads: int = 3
    positions: int = 256
    activation: str = "gelu_pytorch_tanh"  # the function of GPT-2's gelu_new in one kernel


@dataclass(frozen=True)
class TrainingSettings:
    """AdamW with a linear warm-up and a cosine down to a tenth of the peak."""

    tokens: int = 30_000_000  # seen in all, repetitions counted
    sequence_length: int = 128
    batch_size: int = 32  # sequences a step
    microbatch: int | None = None  # sequences through the model at once; default all of a step's
    learning_rate: float = 2e-3
    warmup_steps: int = 300
    weight_decay: float = 0.1
    beta2: float = 0.95
    gradient_norm: float = 1.0  # larger gradients are scaled down to it
    dropout: float = 0.0
    precision: str = (
        "auto"  # float32 | bfloat16 (products only; weights stay float32) | auto: bfloat16 where it is fast
    )
    seed: int = 0
    eval_every: int = 500  # steps
    eval_tokens: int = 50_000  # of the held-out text, while training; all of it at the end
    checkpoint_every: int = 500  # steps
    threads: int | None = None


@dataclass(frozen=True)
class PretrainingRecipe:
    """A whole pre-training run."""

    text: TextSettings = field(default_factory=TextSettings)
    tokenizer: TokenizerSettings = field(default_factory=TokenizerSettings)
    shape: ShapeSettings = field(default_factory=ShapeSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    card: str = ""  # what the model card says of data and licences
    licence: str = "other"

    @property
    def steps(self) -> int:
        """Optimiser steps that use up the tokens."""
        return max(1, self.training.tokens // (self.training.batch_size * self.training.sequence_length))


def load_recipe(path: Path, overrides: list[str]) -> PretrainingRecipe:
    """Read a recipe, apply `key=value` overrides, check everything.

    Raises:
        ConfigError: one sentence naming the key and what is allowed.
    """
    recipe = merge_into(PretrainingRecipe, load_yaml(path), overrides, str(path))

    def need(condition: bool, key: str, value: object, allowed: str) -> None:
        if not condition:
            raise ConfigError(f"{path}: {key} is {value}; allowed: {allowed}")

    _check(recipe, need)
    return recipe


def _check(recipe: PretrainingRecipe, need: Callable[[bool, str, object, str], None]) -> None:
    text, shape, training = recipe.text, recipe.shape, recipe.training
    need(len(text.sources) >= 1, "text.sources", "empty", "at least one source with a path")
    for source in text.sources:
        need(source.path != "", "text.sources: path", "missing", "a file, a folder or hub:OWNER/NAME")
        need(source.repeat >= 1, f"text.sources: repeat of {source.path}", source.repeat, "1 or more")
    need(0 < text.held_out_percent < 100, "text.held_out_percent", text.held_out_percent, "above 0 and below 100")
    for key in ("layers", "width", "heads", "positions"):
        need(getattr(shape, key) >= 1, f"shape.{key}", getattr(shape, key), "1 or more")
    need(shape.activation in ACTIVATIONS, "shape.activation", repr(shape.activation), ", ".join(ACTIVATIONS))
    need(shape.width % shape.heads == 0, "shape.width", shape.width, f"a multiple of shape.heads ({shape.heads})")
    for key in ("tokens", "sequence_length", "batch_size", "eval_every", "eval_tokens", "checkpoint_every"):
        need(getattr(training, key) >= 1, f"training.{key}", getattr(training, key), "1 or more")
    need(
        training.sequence_length <= shape.positions,
        "training.sequence_length",
        training.sequence_length,
        f"at most shape.positions ({shape.positions})",
    )
    need(
        training.microbatch is None or training.microbatch >= 1, "training.microbatch", training.microbatch, "1 or more"
    )
    need(training.threads is None or training.threads >= 1, "training.threads", training.threads, "1 or more")
    need(training.warmup_steps >= 0, "training.warmup_steps", training.warmup_steps, "0 or more")
    need(0 <= training.dropout < 1, "training.dropout", training.dropout, "0 to below 1")
    need(0 <= training.beta2 < 1, "training.beta2", training.beta2, "0 to below 1")
    for key in ("learning_rate", "gradient_norm"):
        value = getattr(training, key)
        need(math.isfinite(value) and value > 0, f"training.{key}", value, "a number above 0")
    need(0 <= training.weight_decay < math.inf, "training.weight_decay", training.weight_decay, "0 or more")
    need(
        training.precision in ("auto", "float32", "bfloat16"),
        "training.precision",
        repr(training.precision),
        "auto, float32, bfloat16",
    )
    need(0 <= training.seed < 2**63, "training.seed", training.seed, "0 to 2^63 - 1")
