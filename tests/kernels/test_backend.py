"""One rule says which implementation runs, and tests can force another for a while."""

from __future__ import annotations

import pytest
import torch

from kernels import backend
from kernels.backend import kernel_backend, runs_triton


def test_cpu_tensors_run_as_pytorch_unless_triton_is_forced():
    x = torch.zeros(1)
    assert not runs_triton(x)
    with kernel_backend("triton"):
        assert runs_triton(x)
        with kernel_backend("torch"):
            assert not runs_triton(x)
        assert runs_triton(x)
    assert not runs_triton(x)


def test_the_choice_ends_with_the_block_also_after_an_error():
    with pytest.raises(RuntimeError), kernel_backend("triton"):
        raise RuntimeError
    assert not runs_triton(torch.zeros(1))


def test_unknown_names_and_machines_without_triton_are_refused(monkeypatch):
    with pytest.raises(ValueError, match="allowed: auto, torch, triton"), kernel_backend("cuda"):
        pass
    monkeypatch.setattr(backend, "_triton_can_run", lambda: False)
    with pytest.raises(ValueError, match="TRITON_INTERPRET=1"), kernel_backend("triton"):
        pass
