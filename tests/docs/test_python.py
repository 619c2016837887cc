"""The Python of the documents runs: as it stands, or on fewer records where it would take longer than a test may."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model

from tests.docs.blocks import DOCUMENTS, blocks, commands_of, python_of
from tests.experiments.language import tiny_language

OWN_MODEL = "docs/tutorial-own-model.md"


def execute(block, names, changes=()):
    code = block.text
    for before, after in changes:
        assert before in code, f"{block.document}:{block.line} has no {before}"
        code = code.replace(before, after)
    exec(compile(code, f"{block.document}:{block.line}", "exec"), names)
    return names


def test_every_document_with_python_has_its_test():
    assert {document for document in DOCUMENTS if python_of(document)} == {
        "README.md",
        "docs/tutorial-own-data.md",  # tests/docs/test_own_data.py and tests/experiments/test_data_import_command.py
        OWN_MODEL,
    }


def test_the_python_of_the_readme_runs():
    model = get_peft_model(tiny_language.model(), LoraConfig(target_modules=["c_attn"], fan_in_fan_out=True))
    names = {
        "model": model,
        "ids": torch.randint(0, 40, (6, 8), generator=torch.Generator().manual_seed(0)),
        "mask": torch.ones(6, 8, dtype=torch.int64),
        "optimizer": torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1),
    }
    before = [p.detach().clone() for p in model.parameters() if p.requires_grad]
    tutorial = [block.text for block in python_of("docs/tutorial-own-data.md")]
    own, *others = python_of("README.md")
    assert own.text in tutorial, "it needs a run, and is run where the tutorial is"
    for block in others:
        execute(block, names)
    after = [p for p in model.parameters() if p.requires_grad]
    assert any(not old.equal(new) for old, new in zip(before, after, strict=True))


def run_tutorial(sotto, changes):
    names: dict[str, object] = {}
    for block, some in zip(python_of(OWN_MODEL), changes, strict=True):
        execute(block, names, some)
    assert names["trainer"].epsilon <= 8
    (ledger,) = (command for _, command in commands_of(OWN_MODEL) if command.startswith("sotto ledger"))
    code, out, err = sotto(*ledger.split()[1:])
    assert code == 0, err
    assert f"{names['trainer'].state.max_steps} openings" in out


def test_the_tutorial_on_own_models_runs_on_few_records(sotto, clone):
    few = [
        [("[:400]", "[:40]"), ("max_length=32", "max_length=8")],
        [("max_steps=10", "max_steps=1"), ("per_device_train_batch_size=16", "per_device_train_batch_size=4")],
        # Loss distributions of the larger noise that few steps need take many seconds.
        [("clip_norm = 0.1, 10, 1.0", "clip_norm = 0.1, 2, 1.0"), ("steps=steps)", 'steps=steps, accountant="rdp")')],
    ]
    run_tutorial(sotto, few)


@pytest.mark.slow
def test_the_tutorial_on_own_models_runs(sotto, clone):
    run_tutorial(sotto, [[]] * len([block for block in blocks(OWN_MODEL) if block.language == "python"]))
