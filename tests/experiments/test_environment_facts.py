"""What a run ran on is told in words that say nothing of whose machine it was."""

from __future__ import annotations

import getpass
import platform
import socket
from importlib import metadata
from pathlib import Path

import torch

from experiments.environment_facts import environment_facts


def test_versions_and_the_kind_of_machine_are_told_and_neither_its_name_nor_its_user():
    found = environment_facts(torch.device("cpu"))
    assert found["torch"] == metadata.version("torch")
    assert found["python"] == platform.python_version()
    assert found["device"] == "cpu"
    assert found["threads"] == str(torch.get_num_threads())
    assert all(isinstance(value, str) and value for value in found.values())
    told = " ".join(found.values()).split()
    assert not {socket.gethostname(), getpass.getuser(), str(Path.cwd())} & set(told)


def test_a_package_that_is_not_installed_is_left_out(monkeypatch):
    def version(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    assert set(environment_facts(torch.device("cpu"))) == {"python", "system", "CPUs", "threads", "device"}
