"""One whole training step of a DistilGPT2-shaped model: private against not, on a small batch."""

from __future__ import annotations

import pytest

from bench.lora_step.methods import STEPS, known_steps, step_methods
from bench.lora_step.shapes import DISTILGPT2, Cell

CELL = Cell(4, 20, 4, "c_attn")


@pytest.mark.parametrize("method", STEPS)
def test_step(benchmark, method):
    if method not in known_steps():
        pytest.skip("Opacus is not installed: pip install -e '.[bench]'")
    benchmark.group = f"training step, {CELL}"
    benchmark.pedantic(step_methods(DISTILGPT2, CELL, (method,))[method], rounds=3, warmup_rounds=2)
