"""The long commands of the documents end: the same commands on fewer clients and rounds, on the data that are here."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from tests.docs.blocks import DOCUMENTS, ROOT, commands_of
from tests.docs.typed import typed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

FEWER = ["federation.clients=8", "federation.rounds=1", "aggregation.backend=plaintext"]
FOR_IMAGES = ["model.pretrain.epochs=0"]
FOR_WORDS = ["data.test_sequences=50"]
EVERY = sorted({command for document in DOCUMENTS for _, command in commands_of(document)})
RUNS = [one for one in EVERY if re.match(r"sotto run experiments/configs/(mnist|next_word)\b", one)]
SWEEPS = [one for one in EVERY if one.startswith("sotto sweep ")]


def fewer(config):
    return [*FEWER, *(FOR_WORDS if "next_word" in str(config) else FOR_IMAGES)]


@pytest.fixture
def shell(shell):
    """Embedded data stand in for real ones: what is tried here is the command."""
    return {name: value for name, value in shell.items() if name != "SOTTO_DATA"}


def test_there_are_long_commands():
    assert RUNS
    assert SWEEPS


@pytest.mark.parametrize("command", RUNS)
def test_a_run_of_the_documents_ends_on_fewer_clients(clone, shell, command):
    config = shlex.split(command)[2]
    shown = typed(" ".join([command, *fewer(config)]), clone, shell)
    assert "all rounds done (1 round" in shown
    folder = re.search(r"adapter: (\S+)/adapter", shown).group(1)
    for following in EVERY:
        if following.startswith("sotto suggest ") and following.endswith(f"--adapter {folder}/adapter"):
            assert "tuned" in typed(following, clone, shell)


@pytest.mark.parametrize("command", SWEEPS)
def test_a_sweep_of_the_documents_ends_on_fewer_clients(clone, shell, command):
    words = shlex.split(command)
    plan = yaml.safe_load((ROOT / words[2]).read_text())
    base = ROOT / Path(words[2]).parent / plan["base"]
    short = {
        **plan,
        "base": str(base),
        "repeats": 1,
        # Behind a variant's own values, which ask for more clients.
        "runs": {name: [*some, *fewer(base)] for name, some in plan["runs"].items()},
    }
    (clone / "plan.yaml").write_text(yaml.safe_dump(short))
    typed(command.replace(words[2], "plan.yaml"), clone, shell)
    out = clone / words[words.index("--out") + 1]
    table = (out / "table.md").read_text()
    for name in plan["runs"]:
        assert (out / name / "summary.json").exists()
        assert f"| {name} |" in table


def test_the_demonstration_ends(clone, shell):
    recipe = re.search(r"^demo: .*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE).group(1)
    todo = [line.strip().removeprefix("@$(BIN)/") for line in recipe.splitlines()]
    assert len([command for command in todo if command.startswith("sotto run ")]) == 2
    for command in todo:
        assert typed(command, clone, shell)
    assert (clone / "runs" / "demo" / "figures").is_dir()
