"""What the documents name is there: files, tests, sections, and the modules that call themselves unreviewed."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = ["README.md", "SECURITY.md", "deploy/README.md", "secagg/PROTOCOL.md", "bench/results/README.md"]
SECURITY = (ROOT / "SECURITY.md").read_text()
NAMED_TESTS = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", SECURITY)
NAMED_FILES = re.findall(
    r"`((?:tests|secagg|kernels|fl_core|experiments|bench|deploy)/[\w./]+\.(?:py|md|yaml))`", SECURITY
)


def names_in(path):
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_security_names_tests_and_files():
    assert len(NAMED_TESTS) > 20
    assert len(NAMED_FILES) > 15


@pytest.mark.parametrize(("path", "name"), NAMED_TESTS)
def test_every_test_that_security_names_exists(path, name):
    assert names_in(path) >= ({name} if name else set())
    assert names_in(path)


@pytest.mark.parametrize("path", NAMED_FILES)
def test_every_file_that_security_names_exists(path):
    assert (ROOT / path).is_file()


def test_no_test_is_named_in_a_form_that_is_not_checked():
    assert SECURITY.count("tests/") == len(NAMED_TESTS)
    assert SECURITY.count("::") == sum(1 for _, name in NAMED_TESTS if name)


def unreviewed():
    section = SECURITY.split("## Our own cryptographic code")[1].split("\n## ")[0]
    return re.findall(r"`([\w/]+\.py)`", section)


@pytest.mark.parametrize("path", unreviewed())
def test_code_that_nobody_reviewed_says_so_itself(path):
    said = ast.get_docstring(ast.parse((ROOT / path).read_text())) or ""
    assert re.search(r"not\s+independently\s+reviewed", said)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_inside_the_repository_leads_somewhere(document):
    path = ROOT / document
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if "://" in target:
            continue
        file, _, section = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.exists(), target
        if section:
            titles = re.findall(r"^#+ (.*)$", found.read_text(), re.MULTILINE)
            assert section in {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}
