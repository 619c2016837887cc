"""Bases: the one that ships, and what cannot be loaded."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch

from experiments.language import bases
from experiments.language.bases import load_base, shipped_base
from experiments.language.suggestions import suggest
from secagg.errors import SottoError
from tests.experiments.language.tiny_language import save


def test_the_shipped_base_is_small_and_has_a_card_with_data_licence_and_scores():
    folder = shipped_base()
    assert sum(path.stat().st_size for path in folder.iterdir()) < 10 * 2**20
    card = (folder / "README.md").read_text()
    for part in ("license: cc-by-sa-4.0", "## Data", "held-out perplexity", "bigram perplexity", "unigram perplexity"):
        assert part in card


def test_the_shipped_base_knows_english():
    model, tokenizer = load_base("mini")
    assert next(model.parameters()).dtype == torch.float32
    ids = torch.tensor([tokenizer.encode("The function returns a list of all the files in the directory.")])
    loss = float(model(input_ids=ids, labels=ids).loss)
    assert loss < 5.5  # a uniform guess among 8,192 tokens: 9.0
    words = [one.word for one in suggest(model, tokenizer, "It is one of the", 10)]
    assert {"most", "best", "first", "same"} & set(words)


def test_a_base_has_no_dropout_whatever_its_configuration_says(tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel

    GPT2LMHeadModel(GPT2Config(vocab_size=60, n_positions=16, n_embd=8, n_layer=1, n_head=1)).save_pretrained(tmp_path)
    save(tmp_path / "tok")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((tmp_path / "tok" / name).read_bytes())
    model, _ = load_base(str(tmp_path))
    assert not any(module.p for module in model.modules() if isinstance(module, torch.nn.Dropout))


@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_quantisation_without_bitsandbytes_is_a_sentence(monkeypatch, bits):
    monkeypatch.setattr(bases.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SottoError, match=f"model.quantisation is {bits}, but bitsandbytes is not installed"):
        load_base("mini", bits)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_quantisation_without_a_gpu_is_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", ModuleType("bitsandbytes"))
    monkeypatch.setattr(bases.importlib.util, "find_spec", lambda name: object())
    with pytest.raises(SottoError, match=r"there is no CUDA device .* allowed here: none"):
        load_base("mini", "4bit")


def test_weights_that_are_cut_short_are_a_sentence(tmp_path):
    save(tmp_path / "base")
    path = tmp_path / "base" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(SottoError, match="cannot be loaded as a causal language model"):
        load_base(str(tmp_path / "base"))


def test_weights_that_only_a_pickle_holds_are_not_loaded(tmp_path):
    save(tmp_path / "base")
    model, _ = load_base(str(tmp_path / "base"))
    (tmp_path / "base" / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "base" / "pytorch_model.bin")
    with pytest.raises(SottoError, match="cannot be loaded as a causal language model .*weights as safetensors"):
        load_base(str(tmp_path / "base"))


def in_hub_cache(root, name):
    """A model as the hub's client leaves it in its cache."""
    home = root / f"models--{name.replace('/', '--')}"
    save(home / "snapshots" / "abc")
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("abc")


def test_a_model_in_the_hubs_local_cache_needs_no_network(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    in_hub_cache(tmp_path, "some/model")
    model, tokenizer = load_base("some/model")
    assert model.name_or_path == "some/model"
    assert len(tokenizer) == model.config.vocab_size
    with pytest.raises(SottoError, match=r"other/model is no folder and not in the hub's local cache.*HF_HUB_OFFLINE"):
        load_base("other/model")
