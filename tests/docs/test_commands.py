"""Every command of the documents is run: light ones here as they stand, the others by the tests that a table names."""

from __future__ import annotations

import ast
import glob
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import DOCUMENTS, ROOT, SHELL, SHOWN, blocks, commands, commands_of
from tests.docs.checks import ELSEWHERE, RUN, elsewhere, is_run

EVERY = [(document, line, command) for document in DOCUMENTS for line, command in commands_of(document)]
LIGHT = [document for document in DOCUMENTS if any(is_run(command) for _, command in commands_of(document))]


def test_the_documents_have_commands():
    assert len(EVERY) > 50
    assert {"README.md", "deploy/README.md", "docs/deployment.md", "docs/concepts.md"} <= set(LIGHT)


@pytest.mark.parametrize(("document", "line", "command"), EVERY)
def test_every_command_is_run_by_one_check(document, line, command):
    assert is_run(command) + len(elsewhere(command)) == 1, f"{document}:{line}: add it to tests/docs/checks.py"


def test_no_check_is_left_over():
    typed = {command for _, _, command in EVERY}
    needed = {pattern for command in typed for pattern in elsewhere(command)}
    assert set(ELSEWHERE) == needed
    assert all(any(is_run(command) for command in typed if command.startswith(one.rstrip("*"))) for one in RUN)


@pytest.mark.parametrize("check", sorted({check for checks in ELSEWHERE.values() for check in checks}))
def test_every_check_that_the_table_names_exists(check):
    path, _, name = check.partition("::")
    tree = ast.parse((ROOT / path).read_text())
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_block_says_what_it_is(document):
    for block in blocks(document):
        assert block.language in (*SHELL, *SHOWN, "python"), f"{document}:{block.line}"


def test_commands_are_taken_from_a_block_as_a_shell_would():
    text = 'one --a  1 \\\n  --b "x y"   # why\n# nothing\n\ntwo a#b\n'
    assert commands(text) == ['one --a 1 --b "x y"', "two a#b"]


def typed(sotto, command):
    """Run one command in this folder; what it printed."""
    if command.startswith("export "):
        return ""
    if not command.startswith("sotto "):
        done = subprocess.run(["bash", "-ec", command], capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout
    words = [found for word in shlex.split(command)[1:] for found in (sorted(glob.glob(word)) or [word])]
    code, out, err = sotto(*words)
    assert code == 0, f"{command}: {err}"
    return out


@pytest.mark.parametrize("document", LIGHT)
def test_the_light_commands_of_a_document_run_in_their_order(sotto, document, tmp_path, monkeypatch):
    for tool in ("openssl", "ssh-keygen"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    monkeypatch.chdir(tmp_path)
    todo = [command for _, command in commands_of(document) if is_run(command)]
    if document == "deploy/README.md":  # goes on where the parties' keys are made
        before = [
            command for _, command in commands_of("docs/deployment.md") if command.startswith("sotto party init . ")
        ]
        clients = [todo[0].replace(" I", f" {number}") for number in range(3)]
        todo = [*before, *clients, *todo[1:]]
    said = {command: typed(sotto, command) for command in todo}
    made = {path.name for path in tmp_path.iterdir()}
    if any(" assemble " in command for command in todo):
        assert {"parties.yaml", "party-0", "party-1", "party-2", "coordinator"} <= made
    if document == "deploy/README.md":
        verified = subprocess.run(
            ["openssl", "verify", "-CAfile", "ca.crt", "server.pem"], capture_output=True, text=True
        )
        assert verified.stdout == "server.pem: OK\n"
        names = subprocess.run(
            ["openssl", "x509", "-in", "server.pem", "-noout", "-text"], capture_output=True, text=True
        )
        assert "DNS:link.example, IP Address:127.0.0.1" in names.stdout
    assert all(said[command] for command in todo if command.startswith("sotto "))


def epsilons(sotto, document):
    for _, command in commands_of(document):
        if command.startswith("sotto epsilon"):
            yield json.loads(typed(sotto, f"{command} --json"))


def test_the_epsilons_of_the_questions_are_what_the_commands_say(sotto):
    text = (ROOT / "docs" / "faq.md").read_text()
    written = [
        float(number) for number in re.findall(r"^\| (?:Rényi|privacy loss).* \| ([\d.]+) \|$", text, re.MULTILINE)
    ]
    assert [round(one["epsilon"], 3) for one in epsilons(sotto, "docs/faq.md")] == written
    assert len(written) == 3


def test_the_epsilons_of_the_concepts_are_what_the_command_says(sotto):
    (found,) = epsilons(sotto, "docs/concepts.md")
    views = {name: view["epsilon"] for name, view in found["views"].items()}
    assert "gives 0.947 for release and aggregators and 100 for local" in (ROOT / "docs" / "concepts.md").read_text()
    assert (round(views["release"], 3), round(views["aggregators"], 3), round(views["local"])) == (0.947, 0.947, 100)


def test_ci_runs_what_every_change_must_pass():
    script = (ROOT / ".ci" / "run").read_text()
    assert [line for line in script.splitlines() if line.startswith("make ")] == [
        "make lint",
        "make types",
        "make test",
    ]
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {command.split()[1] for _, _, command in EVERY if command.startswith("make ")}
    assert named <= targets


def test_every_benchmark_of_make_bench_can_be_collected():
    suites = list((ROOT / "bench").rglob("bench_*.py"))
    assert suites
    for suite in suites:
        tree = ast.parse(suite.read_text())
        tests = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
        assert all("benchmark" in {argument.arg for argument in one.args.args} for one in tests)
        assert tests


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_completion_is_written_for_the_shell_in_which_it_is_asked_for(tmp_path, shell, name):
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    home = tmp_path / "home"
    home.mkdir()
    # What comes after keeps the shell alive, so that it is found to be the one that asks.
    typed_there = [name, "-c", "sotto --install-completion; code=$?; exit $code"]
    if name == "fish":
        typed_there[2] = "sotto --install-completion; exit $status"
    done = subprocess.run(typed_there, env={**shell, "HOME": str(home)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{name} completion installed" in done.stdout
    assert any("_SOTTO_COMPLETE" in path.read_text() for path in home.rglob("*") if path.is_file())


@pytest.mark.slow
@pytest.mark.parametrize(("words", "completed"), [("sotto da", "data"), ("sotto data im", "import")])
def test_completion_completes(shell, words, completed):
    asked = {**shell, "_SOTTO_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = subprocess.run(["sotto"], env=asked, capture_output=True, text=True)
    assert done.stdout.split() == [completed]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("flwr") is None, reason="Flower is not installed")
def test_flower_still_has_the_command_for_logs():
    told = subprocess.run([Path(sys.executable).parent / "flwr", "log", "--help"], capture_output=True, text=True)
    assert told.returncode == 0
    assert "RUN_ID" in told.stdout
