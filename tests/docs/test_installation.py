"""The README's way into an environment of one's own: what it installs runs where there is no clone."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.docs.blocks import ROOT, commands_of
from tests.docs.typed import typed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SHORT = "federation.clients=4 federation.rounds=1 data.test_sequences=20"


def test_an_environment_made_as_the_readme_says_runs_outside_of_the_clone(tmp_path):
    sources, place, elsewhere = tmp_path / "sources", tmp_path / "environment", tmp_path / "elsewhere"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, tracked.split("\0")):
        (sources / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, sources / name)
    elsewhere.mkdir()
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    shell = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "SOTTO_DATA")}
    shell |= {"PATH": f"{place / 'bin'}:{shell['PATH']}", "SOTTO_CACHE": str(tmp_path / "cache"), "COLUMNS": "300"}
    installing = [command for _, command in commands_of("README.md") if command.startswith("pip install ")]
    assert len(installing) == 3
    for command in installing:
        typed(command, sources, shell)
    shutil.rmtree(sources)

    # Without optional parts, and with what a checker of types needs.
    found = typed(
        'python -c \'import importlib.util as u; print(u.find_spec("flwr"), u.find_spec("opacus"))\'', elsewhere, shell
    )
    assert found.split() == ["None", "None"]
    packages = place / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    assert all((packages / name / "py.typed").is_file() for name in ("kernels", "secagg", "fl_core", "experiments"))

    with (elsewhere / "texts.csv").open("w", newline="") as handle:
        rows = [(f"user {user}", f"This is sentence {n} of user {user}.") for user in range(10) for n in range(5)]
        csv.writer(handle).writerows([("user", "text"), *rows])
    said = typed("sotto data import texts.csv --out own", elsewhere, shell)
    (following,) = [line.removeprefix("next:").strip() for line in said.splitlines() if line.startswith("next:")]
    summary = json.loads(typed(f"{following} {SHORT} --out runs/one --json", elsewhere, shell))
    assert summary["rounds_done"] == 1
    assert (elsewhere / "runs/one/adapter/adapter_model.safetensors").is_file()
    typed("sotto ledger runs/one", elsewhere, shell)
    typed("sotto report runs/one", elsewhere, shell)
