"""A recipe's every wrong key and value is one sentence that names the key and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers.activations import ACT2FN

import experiments
from experiments.language.recipe import ACTIVATIONS, load_recipe
from experiments.language.text_sources import TextSource
from fl_core.config import ConfigError
from fl_core.config_file import save_config
from tests.experiments.language.tiny import write_recipe


def test_a_recipe_is_typed_and_overrides_win(tmp_path):
    recipe = load_recipe(write_recipe(tmp_path), ["training.tokens=330", "text.sources=[{path: b.txt, repeat: 2}]"])
    assert recipe.text.sources == [TextSource("b.txt", "text", 2)]
    assert recipe.steps == 330 // 32
    assert recipe.training.batch_size == 2


def test_fewer_tokens_than_a_step_has_are_one_step(tmp_path):
    assert load_recipe(write_recipe(tmp_path), ["training.tokens=1"]).steps == 1


def test_the_shipped_recipe_is_valid():
    folder = Path(experiments.__file__).parent / "configs"
    assert load_recipe(folder / "pretrain_mini.yaml", []).steps > 1000


def test_a_saved_recipe_loads_as_itself(tmp_path):
    recipe = load_recipe(write_recipe(tmp_path), ["training.learning_rate=3e-4", "licence=cc-by-sa-4.0"])
    save_config(recipe, tmp_path / "saved.yaml")
    assert load_recipe(tmp_path / "saved.yaml", []) == recipe


def test_every_activation_allowed_is_known_to_transformers():
    assert all(name in ACT2FN for name in ACTIVATIONS)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("training.token=5", "unknown key training.token; did you mean tokens"),
        ("trainin.tokens=5", "unknown key trainin; did you mean training"),
        ("training.tokens", r"is not key=value, for example tokenizer.vocabulary=8192"),
        ("training.tokens=many", "training.tokens"),
        ("training.tokens=0", "training.tokens is 0; allowed: 1 or more"),
        ("text.sources=[]", "text.sources is empty; allowed: at least one source"),
        ("text.sources=[{field: a}]", "text.sources: path is missing"),
        ("text.sources=[{path: a, repeat: 0}]", "repeat of a is 0; allowed: 1 or more"),
        ("text.sources=[{pth: a}]", "pth.*Did you mean: .path"),
        ("text.sources=[a.txt]", "text.sources"),
        ("text.held_out_percent=0", "text.held_out_percent is 0.0; allowed: above 0"),
        ("text.held_out_percent=.nan", "text.held_out_percent is nan"),
        ("shape.heads=3", r"shape.width is 16; allowed: a multiple of shape.heads \(3\)"),
        ("shape.layers=0", "shape.layers is 0"),
        ("shape.activation=gelou", "shape.activation is 'gelou'; allowed: gelu_pytorch_tanh, "),
        ("training.sequence_length=33", r"sequence_length is 33; allowed: at most shape.positions \(32\)"),
        ("training.microbatch=0", "training.microbatch is 0"),
        ("training.threads=0", "training.threads is 0"),
        ("training.warmup_steps=-1", "training.warmup_steps is -1"),
        ("training.dropout=1", "training.dropout is 1.0"),
        ("training.beta2=1", "training.beta2 is 1.0"),
        ("training.learning_rate=0", "training.learning_rate is 0.0; allowed: a number above 0"),
        ("training.learning_rate=.inf", "training.learning_rate is inf"),
        ("training.gradient_norm=0", "training.gradient_norm"),
        ("training.weight_decay=-1", "training.weight_decay"),
        ("training.precision=float16", "training.precision is 'float16'; allowed: auto, float32, bfloat16"),
        ("training.seed=-1", "training.seed is -1"),
    ],
)
def test_bad_values_are_one_sentence(tmp_path, override, says):
    with pytest.raises(ConfigError, match=says) as caught:
        load_recipe(write_recipe(tmp_path), [override])
    assert "\n" not in str(caught.value)
