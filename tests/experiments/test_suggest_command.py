"""`sotto suggest`: words of the tuned model beside the base's, from a run folder or an adapter folder."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file

from fl_core.adapters import attach_adapter, save_adapter
from fl_core.config import LoraSettings
from tests.experiments.language.tiny_language import model, save


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A base, and a run folder whose adapter changes it."""
    home = tmp_path_factory.mktemp("suggest")
    save(home / "base")
    torch.manual_seed(1)
    adapted = attach_adapter(model(), LoraSettings(rank=2, targets=["c_attn"]))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=3.0)
    save_adapter(adapted, home / "run" / "adapter")
    settings = {"data": {"name": "topics"}, "model": {"base": str(home / "base")}, "privacy": {"epsilon": 1}}
    (home / "run" / "config.yaml").write_text(yaml.safe_dump(settings))
    return home


def test_both_models_suggest_three_words_and_the_adapter_makes_a_difference(sotto, home):
    code, out, _ = sotto("suggest", "The value of the", "--adapter", home / "run", "--json")
    assert code == 0
    shown = json.loads(out)
    assert len(shown["base"]) == len(shown["tuned"]) == 3
    assert shown["base"] != shown["tuned"]
    for side in ("base", "tuned"):
        assert all(0 <= one["probability"] <= 1 and one["word"].isalpha() for one in shown[side])


def test_an_adapter_folder_with_a_named_base_gives_the_same(sotto, home):
    _, run, _ = sotto("suggest", "An object", "--adapter", home / "run", "--json")
    _, folder, _ = sotto(
        "suggest", "An object", "--adapter", home / "run" / "adapter", "--base", home / "base", "--json"
    )
    assert json.loads(run)["tuned"] == json.loads(folder)["tuned"]


@pytest.mark.parametrize("text", ["", " ", "a" * 400, "déjà vu \N{PILE OF POO}", "(", "1 2 3"])
def test_any_text_is_answered(sotto, home, text):
    code, out, _ = sotto("suggest", text, "--adapter", home / "run", "--count", "5", "--json")
    assert code == 0
    assert len(json.loads(out)["tuned"]) == 5


def test_the_table_names_the_base(sotto, home):
    code, out, _ = sotto("suggest", "The", "--adapter", home / "run")
    assert code == 0
    assert "tuned" in out


def test_a_folder_without_an_adapter_is_a_sentence(mistake, tmp_path):
    assert "holds no adapter" in mistake("suggest", "The", "--adapter", tmp_path)


def test_a_run_on_images_is_a_sentence(mistake, home, tmp_path):
    run = tmp_path / "images"
    (run / "adapter").mkdir(parents=True)
    (run / "adapter" / "adapter_config.json").write_text("{}")
    (run / "config.yaml").write_text(yaml.safe_dump({"data": {"name": "digits"}, "privacy": {"epsilon": 1}}))
    assert "is a run on images" in mistake("suggest", "The", "--adapter", run)


def test_an_adapter_of_another_base_is_a_sentence(mistake, home, tmp_path):
    save(tmp_path / "wide", width=32)
    sentence = mistake("suggest", "The", "--adapter", home / "run", "--base", tmp_path / "wide")
    assert "does not fit the base" in sentence


def test_an_adapter_that_only_a_pickle_holds_is_not_loaded(mistake, home, tmp_path):
    shutil.copytree(home / "run" / "adapter", tmp_path / "adapter")
    weights = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    torch.save(weights, tmp_path / "adapter" / "adapter_model.bin")
    (tmp_path / "adapter" / "adapter_model.safetensors").unlink()
    sentence = mistake("suggest", "The", "--adapter", tmp_path / "adapter", "--base", home / "base")
    assert "has no adapter_model.safetensors" in sentence
