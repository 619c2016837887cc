"""Launch sizes come from one table: fixed, powers of two, and never measured at run time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import kernels
from kernels import launch_table
from kernels.gpu.aot import TARGETS
from kernels.launch_table import architecture, launch


def test_ranks_take_the_smallest_row_that_holds_them_and_larger_ones_the_last():
    ranks = [1, 4, 5, 16, 17, 64, 65, 256, 1000]
    blocks = [launch("lora_grad", "sm_90", rank).block for rank in ranks]
    assert blocks == sorted(blocks, reverse=True)
    assert launch("lora_grad", "sm_90", 4) != launch("lora_grad", "sm_90", 5)
    assert launch("lora_grad", "sm_90", 256) == launch("lora_grad", "sm_90", 1000)


def test_sizes_are_powers_of_two():
    for row in launch_table._TABLE.values():
        for size in (row.block, row.inner or 1, row.num_warps):
            assert size & (size - 1) == 0


def test_every_name_in_the_table_is_asked_for_by_a_kernel_and_every_kernel_has_a_row():
    sources = "".join(path.read_text() for path in (Path(kernels.__file__).parent / "gpu").glob("*.py"))
    names = {kernel for kernel, _, _ in launch_table._TABLE}
    assert {name for name in names if f'launch("{name}"' in sources} == names
    with pytest.raises(KeyError, match="no launch configuration"):
        launch("unknown", "sm_90")


def test_an_architecture_row_wins_over_the_general_one(monkeypatch):
    special = launch_table.Launch(block=64)
    monkeypatch.setitem(launch_table._TABLE, ("gaussian", "sm_80", 0), special)
    assert launch("gaussian", "sm_80") == special
    assert launch("gaussian", "sm_90") == launch("gaussian", "any") != special


def test_no_kernel_is_autotuned():
    for path in (Path(kernels.__file__).parent / "gpu").glob("*.py"):
        assert "autotune" not in path.read_text()


def test_a_cpu_has_no_architecture_of_its_own():
    assert architecture(torch.device("cpu")) == "any"


def test_rows_are_for_architectures_that_kernels_are_compiled_for():
    assert {arch for _, arch, _ in launch_table._TABLE} <= {"any", *TARGETS}
