"""Checkpoints come back exactly, and what no run wrote is damage with a name."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from fl_core.checkpoint import Checkpoint, latest_checkpoint, save_checkpoint
from fl_core.optimizers import OptimizerState
from fl_core.storage import StorageError


def checkpoint(round_):
    moments = torch.randn(4, dtype=torch.float64)
    return Checkpoint(round_, torch.randn(4), OptimizerState(moments, moments + 1, round_), round_ + 1, "ab" * 32)


def test_the_newest_checkpoint_comes_back_exactly_and_two_are_kept(tmp_path):
    saved = [checkpoint(round_) for round_ in (1, 2, 10)]
    for item in saved:
        save_checkpoint(tmp_path, item)
    found = latest_checkpoint(tmp_path)
    assert found.round == 10
    assert torch.equal(found.theta, saved[-1].theta)
    assert torch.equal(found.optimizer.second, saved[-1].optimizer.second)
    assert (found.ledger_lines, found.ledger_head) == (11, "ab" * 32)
    assert len(list(tmp_path.iterdir())) == 2


def test_no_checkpoint_is_none(tmp_path):
    assert latest_checkpoint(tmp_path) is None


@pytest.mark.parametrize("damage", [b"", b"garbage" * 100, "cut", "flip"])
def test_a_damaged_checkpoint_is_named_and_executes_nothing(tmp_path, damage):
    save_checkpoint(tmp_path, checkpoint(3))
    path = next(tmp_path.iterdir())
    content = path.read_bytes()
    if damage == "cut":
        damage = content[:-5]
    elif damage == "flip":
        damage = content.replace(b"optimizer_steps", b"optimizer_stepz")
    path.write_bytes(damage)
    with pytest.raises(StorageError, match=r"round-000003.safetensors is damaged"):
        latest_checkpoint(tmp_path)


@pytest.mark.parametrize("where", range(0, 100, 7))
def test_a_bit_that_flipped_in_a_checkpoint_is_found(tmp_path, where):
    save_checkpoint(tmp_path, checkpoint(3))
    file = next(tmp_path.glob("round-*"))
    content = bytearray(file.read_bytes())
    content[-1 - where] ^= 1  # of adapter or moments: every one of them is a good number still
    file.write_bytes(content)
    with pytest.raises(StorageError, match="round-000003.safetensors is damaged"):
        latest_checkpoint(tmp_path)


def test_a_checkpoint_of_an_earlier_sotto_without_a_digest_is_read(tmp_path):
    whole = checkpoint(3)
    tensors = {"theta": whole.theta, "first": whole.optimizer.first, "second": whole.optimizer.second}
    facts = {"round": 3, "optimizer_steps": 3, "ledger_lines": 4, "ledger_head": "ab" * 32}
    save_file(tensors, tmp_path / "round-000003.safetensors", {"sotto": json.dumps(facts)})
    assert torch.equal(latest_checkpoint(tmp_path).theta, whole.theta)


@pytest.mark.parametrize("facts", ["[" * 100_000, '{"round": 1e999}', "[]", "null", '{"a":' * 100_000])
def test_facts_that_no_run_wrote_are_damage(tmp_path, facts):
    moments = torch.zeros(4, dtype=torch.float64)
    tensors = {"theta": torch.zeros(4), "first": moments, "second": moments.clone()}
    save_file(tensors, tmp_path / "round-000001.safetensors", {"sotto": facts})
    with pytest.raises(StorageError, match="is damaged"):
        latest_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [{"round": -1}, {"round": 2**70}, {"theta": torch.zeros(2, 2)}, {"theta": torch.zeros(4, dtype=torch.float64)},
     {"optimizer": OptimizerState(torch.full((4,), float("nan"), dtype=torch.float64),
                                  torch.zeros(4, dtype=torch.float64), 1)}],
)  # fmt: skip
def test_counts_and_tensors_that_no_run_has_are_refused(tmp_path, changes):
    save_checkpoint(tmp_path, replace(checkpoint(1), **changes))
    with pytest.raises(StorageError, match="remove it"):
        latest_checkpoint(tmp_path)
