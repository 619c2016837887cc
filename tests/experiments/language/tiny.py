"""A corpus and recipe so small that pre-training takes a fraction of a second."""

from __future__ import annotations

import json
import random
from dataclasses import replace

from experiments.language.corpus import make_corpus
from experiments.language.recipe import (
    PretrainingRecipe,
    ShapeSettings,
    TextSettings,
    TokenizerSettings,
    TrainingSettings,
)
from experiments.language.text_sources import TextSource

WORDS = ("the", "a", "cat", "dog", "house", "tree", "runs", "sees", "likes", "under", "over", "near", "big", "red")
VOCABULARY = 280


def documents(count=120, seed=0):
    drawn = random.Random(seed)
    return [" ".join(drawn.choices(WORDS, k=drawn.randint(8, 20))) + f" {number}." for number in range(count)]


def write_text(path, texts=None):
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts or documents()))
    return path


def recipe(text, steps=8, **training):
    """`steps` steps of two sequences of 16 tokens."""
    settings = TrainingSettings(
        tokens=steps * 2 * 16,
        sequence_length=16,
        batch_size=2,
        learning_rate=1e-3,
        warmup_steps=2,
        precision="float32",
        eval_every=4,
        eval_tokens=64,
        checkpoint_every=3,
    )
    return PretrainingRecipe(
        TextSettings([TextSource(str(text))], held_out_percent=10.0),
        TokenizerSettings(None, VOCABULARY),
        ShapeSettings(layers=1, width=16, heads=2, positions=32),
        replace(settings, **training),
        "Words.",
    )


def corpus_of(recipe):
    return make_corpus(recipe, lambda text: None)


RECIPE_YAML = """
text:
  sources: [{{path: {text}}}]
  held_out_percent: 10
tokenizer: {{vocabulary: 280}}
shape: {{layers: 1, width: 16, heads: 2, positions: 32}}
training:
  tokens: 256
  sequence_length: 16
  batch_size: 2
  warmup_steps: 2
  precision: float32
  eval_every: 4
  eval_tokens: 64
card: Words.
"""


def write_recipe(folder):
    """A recipe file and its text in `folder`: 8 steps."""
    path = folder / "words.yaml"
    path.write_text(RECIPE_YAML.format(text=write_text(folder / "words.jsonl")))
    return path
