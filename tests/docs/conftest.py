"""`sotto` in this process, as the tests of its commands have it; and a folder in which the documents' commands work."""

from __future__ import annotations

import os
import sys

import pytest

from tests.docs.blocks import ROOT
from tests.experiments.conftest import sotto

__all__ = ["sotto"]


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A folder that looks like a clone to whoever types there: configurations and the shipped base are in it."""
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOTTO_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def shell(tmp_path):
    """The environment of a shell in which `sotto` is this one."""
    programs = tmp_path / "bin"
    programs.mkdir()
    # As an installation makes it.
    (programs / "sotto").write_text(f"#!{sys.executable}\nfrom experiments.cli import main\n\nmain()\n")
    (programs / "sotto").chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "300",
    }
