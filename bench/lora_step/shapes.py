"""What is measured: DistilGPT2's shape with random weights, and the grid of batches, lengths, ranks and targets.

Weights are random, for time and memory do not depend on them, but B is not zero as PEFT makes it: then gradients of A
would be zero and clipping would have less to do than in training.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["DISTILGPT2", "GRID", "LLAMA_8B", "Cell", "Shape", "cell_of", "lora_model", "token_ids"]


@dataclass(frozen=True)
class Shape:
    """A GPT-2-like model.

    Attributes:
        layers: transformer blocks.
        width: of the hidden states.
        vocabulary: number of tokens.
    """

    layers: int
    width: int
    vocabulary: int
    heads: int

    def pairs(self, targets: str) -> list[tuple[int, int]]:
        """`(d_in, d_out)` of every adapted linear layer."""
        w = self.width
        block = {"c_attn": [(w, 3 * w)], "all": [(w, 3 * w), (w, w), (w, 4 * w), (4 * w, w)]}[targets]
        return block * self.layers


DISTILGPT2 = Shape(6, 768, 50257, 12)
TINY = Shape(1, 64, 199, 2)
# One block of an 8B-parameter Llama: query and output, key and value, gate and up, down.
LLAMA_8B = [(4096, 4096), (4096, 1024), (4096, 14336), (14336, 4096)]


@dataclass(frozen=True)
class Cell:
    """One point of the grid: batch size, tokens a sample, rank, and which linear layers have an adapter."""

    batch: int
    tokens: int
    rank: int
    targets: str

    def __str__(self) -> str:
        return f"B={self.batch} T={self.tokens} r={self.rank} {self.targets}"

    @property
    def row(self) -> dict[str, Any]:
        """For a table."""
        return asdict(self)


GRID = [Cell(*point) for point in product((4, 8, 16, 32), (20, 128, 512), (4, 16), ("c_attn", "all"))]


def cell_of(text: str) -> Cell:
    """`16,128,4,all` as a cell."""
    batch, tokens, rank, targets = text.split(",")
    return Cell(int(batch), int(tokens), int(rank), targets)


def lora_model(shape: Shape, rank: int, targets: str, device: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A GPT-2 of this shape with a PEFT adapter, in training mode without dropout."""
    from peft import LoraConfig, get_peft_model
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(
        n_layer=shape.layers,
        n_embd=shape.width,
        n_head=shape.heads,
        vocab_size=shape.vocabulary,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        use_cache=False,
    )
    base = GPT2LMHeadModel(config).to(device, dtype)
    names = {"c_attn": ["c_attn"], "all": ["c_attn", "c_proj", "c_fc"]}[targets]
    lora = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=names, fan_in_fan_out=True)
    model: nn.Module = get_peft_model(base, lora)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.02)
    return model.train()


def token_ids(shape: Shape, cell: Cell, device: str) -> Iterator[Tensor]:
    """Endless batches of random tokens `[b, t]`, the same ones for everybody who asks."""
    generator = torch.Generator().manual_seed(1)
    while True:
        yield torch.randint(0, shape.vocabulary, (cell.batch, cell.tokens), generator=generator).to(device)
