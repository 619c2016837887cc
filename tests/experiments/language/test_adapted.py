"""An adapter goes with its folder: it names its base as users do, and loads wherever folder and base are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from experiments.language.adapted import load_adapted
from experiments.language.bases import load_base, shipped_base
from fl_core.adapters import attach_adapter, save_adapter
from fl_core.config import LoraSettings
from secagg.errors import SottoError
from tests.experiments.language.tiny_language import save

IDS = torch.arange(8)[None]


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """An adapter on the shipped base that changes it, and what the two give."""
    model = attach_adapter(load_base("mini")[0], LoraSettings(rank=2, targets=["c_attn"], blocks=[-1]))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(1))
        logits = model(IDS).logits
    folder = tmp_path_factory.mktemp("made") / "adapter"
    save_adapter(model, folder)
    return folder, logits


def test_an_adapter_of_the_shipped_base_names_it_and_no_place_on_this_machine(shipped):
    folder, _ = shipped
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == "mini"
    for path in folder.iterdir():
        for place in (shipped_base(), Path.cwd(), Path.home()):
            assert str(place).encode() not in path.read_bytes(), path.name


def test_a_copied_adapter_loads_alone_and_with_a_copied_base_without_sotto(shipped, tmp_path):
    folder, logits = shipped
    shutil.copytree(folder, tmp_path / "other" / "adapter")
    with torch.no_grad():
        tuned, _, name = load_adapted(tmp_path / "other" / "adapter")
        assert name == "mini"
        assert torch.equal(tuned(IDS).logits, logits)
        shutil.copytree(shipped_base(), tmp_path / "copied base")
        base = AutoModelForCausalLM.from_pretrained(tmp_path / "copied base", dtype=torch.float32)
        assert torch.equal(PeftModel.from_pretrained(base, tmp_path / "other" / "adapter")(IDS).logits, logits)


def test_saving_asks_nobody_over_the_network(shipped, tmp_path, monkeypatch):
    from peft.utils import save_and_load

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(save_and_load, "check_file_exists_on_hf_hub", lambda *_, **__: pytest.fail("asked the hub"))
    tuned, _, _ = load_adapted(shipped[0])
    save_adapter(tuned, tmp_path / "again")
    weights = [(place / "adapter_model.safetensors").read_bytes() for place in (shipped[0], tmp_path / "again")]
    assert weights[0] == weights[1]


def test_a_base_that_is_not_where_it_was_is_a_sentence_that_says_what_to_do(tmp_path):
    base = save(tmp_path / "base")
    save_adapter(attach_adapter(load_base(str(base))[0], LoraSettings(rank=2)), tmp_path / "adapter")
    base.rename(tmp_path / "elsewhere")
    with pytest.raises(SottoError, match=r"base is no folder.*; if its base lies elsewhere now, name it with --base"):
        load_adapted(tmp_path / "adapter")
    assert load_adapted(tmp_path / "adapter", str(tmp_path / "elsewhere"))[2] == str(tmp_path / "elsewhere")


@pytest.mark.parametrize("text", ["[]", "5", "{}", '{"base_model_name_or_path": 5}', "{", "[" * 100_000])
def test_an_adapter_that_names_no_base_is_a_sentence(shipped, tmp_path, text):
    shutil.copytree(shipped[0], tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_config.json").write_text(text)
    with pytest.raises(SottoError, match="does not say which base it was trained on; name it with --base"):
        load_adapted(tmp_path / "adapter")
