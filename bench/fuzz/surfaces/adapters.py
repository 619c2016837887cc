"""Models that come from outside: adapters in PEFT's format, and what a ServerApp asks a client's node.

A node answers with sealed parts for exactly its own round, or with a refusal; it never raises. Flower itself is not
needed: the node is what Flower hands its facts to.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from bench.fuzz.archives import tensors_changed
from bench.fuzz.mutations import mixed
from bench.fuzz.oracle import Limits, Surface
from bench.fuzz.values import ODD, changed, json_text
from bench.small_run import small_config, small_task
from experiments.language.adapted import load_adapted
from experiments.language.tokenizer import train_bpe
from fl_core.adapters import attach_adapter, flat_adapter, save_adapter
from fl_core.config import LoraSettings
from fl_core.engines.flower.client import ClientNode, ClientSettings
from fl_core.engines.flower.exchange import HELLO, TRAIN, terms_of
from secagg.errors import SottoError
from secagg.party.deployment import Policy
from secagg.party.keys import create_deployment

__all__ = ["adapter_folder", "node_questions"]


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
        text = mixed(rng, [good["adapter_config.json"]],
                     lambda r: json_text(changed(r, document)).encode("utf-8", "surrogatepass"))  # fmt: skip
        return {"adapter_config.json": text}

    def read(case: dict[str, bytes]) -> Any:
        for name, content in good.items():
            (adapter / name).write_bytes(case.get(name, content))
        tuned, _, _ = load_adapted(adapter, str(base))
        with torch.no_grad():
            return tuned(torch.tensor([[1, 2, 3]])).logits.shape

    return Surface("adapter", "adapters", draw, read, places=(adapter.name, "adapter"), tries=1_500,
                   limits=Limits(60.0, 256 * 2**20, 4 * 2**30))  # fmt: skip


def node_questions(folder: Path) -> Surface:
    """Facts that Flower hands to a client's node."""
    config = small_config(federation={"clients": 8, "rounds": 3, "sample_rate": 0.5, "n_min": 2})
    addresses = [("127.0.0.1", 1000 + rank) for rank in range(2)]
    deployment = create_deployment(folder, addresses, Policy(n_min=2))
    node = ClientNode(ClientSettings(config, folder / "parties.yaml", folder, (0, 1)), small_task)
    theta = flat_adapter(small_task(config).model).numpy().astype("<f4").tobytes()
    terms = terms_of(config, deployment.digest)
    good: dict[str, Any] = {"run": "r", "round": 1, "attempt": 0, "theta": theta, "terms": terms, "clients": [0, 1]}
    bad = np.full(len(theta) // 4, np.nan, "<f4").tobytes()

    def draw(rng: random.Random) -> tuple[str, dict[str, Any]]:
        facts = changed(rng, good, raw=False)
        if isinstance(facts, dict) and rng.random() < 0.3:
            facts["theta"] = rng.choice([b"", theta[:-1], theta * 2, bad, bytes(len(theta)), rng.choice(ODD)])
        return rng.choice([TRAIN, TRAIN, TRAIN, HELLO, "train.x", ""]), facts

    def read(case: tuple[str, dict[str, Any]]) -> dict[str, Any]:
        answer: dict[str, Any] = node.answer(*case)
        if "refused" in answer:
            raise SottoError(str(answer["refused"]))
        return answer

    def wrong(case: tuple[str, dict[str, Any]], found: dict[str, Any]) -> str | None:
        kind, facts = case
        if kind == HELLO:
            return None if set(found) == {"role", "clients", "terms"} else f"a node said {sorted(found)}"
        if kind != TRAIN or facts["terms"] != terms:
            return "a node answered what it must not"
        parts = {f"{client}.{party}" for client in facts["clients"] for party in range(2)}
        sealed = set(found) == parts and all(isinstance(part, bytes) for part in found.values())
        return None if sealed else f"a node answered {sorted(found)}"

    return Surface("flower", "questions to a client's node (Flower)", draw, read, wrong, tries=4_000)
