"""The benchmarks that the documents name end: the same commands, one short round each or on a tiny model."""

from __future__ import annotations

import json
import re
import shlex
import sys

import pytest

from tests.docs.blocks import DOCUMENTS, ROOT, commands_of
from tests.docs.typed import typed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SHORT = "--benchmark-min-rounds=1 --benchmark-max-time=0.001 --benchmark-warmup=off"
PYTHON = shlex.quote(sys.executable)


def test_make_bench_ends(shell):
    recipe = re.search(r"^bench: .*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE).group(1)
    (measuring,) = [line for line in recipe.splitlines() if "pytest" in line]
    command = measuring.strip().removeprefix("@").replace("$(BIN)/python", PYTHON)
    said = typed(f"{command} {SHORT}", ROOT, shell)
    assert re.search(r"\d+ passed", said)
    assert "failed" not in said


def test_the_benchmark_of_the_private_step_ends_on_a_tiny_model(tmp_path, shell):
    (command,) = {
        one for page in DOCUMENTS for _, one in commands_of(page) if one.startswith("python -m bench.kernels")
    }
    typed(f"{command.replace('python', PYTHON, 1).replace('DIR', str(tmp_path))} --quick", ROOT, shell)
    for part in ("stage", "operations", "step"):
        for row in json.loads((tmp_path / f"{part}.json").read_text())["rows"]:
            assert {"non-private", "sotto"} & set(row["methods"])
    assert "| sotto |" in (tmp_path / "table.md").read_text()
