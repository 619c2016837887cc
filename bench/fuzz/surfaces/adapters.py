"""Adapters that come from outside, in PEFT's format, put on a base model."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from bench.fuzz.archives import tensors_changed
from bench.fuzz.mutations import mixed
from bench.fuzz.oracle import Limits, Surface
from bench.fuzz.values import odd_json
from experiments.language.adapted import load_adapted
from experiments.language.tokenizer import train_bpe
from fl_core.adapters import attach_adapter, save_adapter
from fl_core.config import LoraSettings

__all__ = ["adapter_folder"]


def adapter_folder(folder: Path) -> Surface:
    """An adapter's folder with one file changed, put on a tiny GPT-2; PEFT and transformers need more memory."""
    base, adapter = folder / "base", folder / "adapter"
    base.mkdir(parents=True, exist_ok=True)
    tokenizer = train_bpe(["the cat sees a dog"] * 5, 260)
    torch.manual_seed(0)
    shape = GPT2Config(vocab_size=len(tokenizer), n_positions=16, n_embd=8, n_layer=1, n_head=1)
    model = GPT2LMHeadModel(shape)
    model.save_pretrained(base)
    tokenizer.save_pretrained(base)
    save_adapter(attach_adapter(model, LoraSettings(rank=2, targets=["c_attn"])), adapter)
    good = {path.name: path.read_bytes() for path in sorted(adapter.iterdir()) if path.suffix != ".md"}
    document = json.loads(good["adapter_config.json"])

    def draw(rng: random.Random) -> dict[str, bytes]:
        if rng.random() < 0.5:
            weights = good["adapter_model.safetensors"]
            return {"adapter_model.safetensors": mixed(rng, [weights], lambda r: tensors_changed(r, weights))}
        return {"adapter_config.json": mixed(rng, [good["adapter_config.json"]], odd_json(document))}

    def read(case: dict[str, bytes]) -> Any:
        for name, content in good.items():
            (adapter / name).write_bytes(case.get(name, content))
        tuned, _, _ = load_adapted(adapter, str(base))
        with torch.no_grad():
            return tuned(torch.tensor([[1, 2, 3]])).logits.shape

    return Surface("adapters", draw, read, places=(adapter.name, "adapter"), tries=1_500,
                   limits=Limits(60.0, 256 * 2**20, 4 * 2**30))  # fmt: skip
