"""The stage that privacy adds, on DistilGPT2's shape: ours against Opacus' hooks and the plain products."""

from __future__ import annotations

import pytest

from bench.lora_step.methods import stage_methods
from bench.lora_step.shapes import DISTILGPT2, Cell

CELLS = [Cell(4, 20, 4, "c_attn"), Cell(16, 20, 16, "all"), Cell(16, 128, 4, "c_attn"), Cell(16, 128, 16, "all")]


@pytest.fixture(scope="module", params=CELLS, ids=str)
def case(request):
    return request.param, stage_methods(DISTILGPT2, request.param)


@pytest.mark.parametrize("method", ["opacus hooks", "non-private", "sotto", "sotto integer"])
def test_stage(benchmark, case, method):
    cell, methods = case
    if method not in methods:
        pytest.skip("Opacus is not installed: pip install -e '.[bench]'")
    benchmark.group = f"private stage, {cell}"
    benchmark.pedantic(methods[method], rounds=7, warmup_rounds=2)
