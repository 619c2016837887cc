"""Modules in a process of their own, for harnesses that fork: a test session's threads would not outlive that."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from bench.places import ROOT


def in_a_process(module, *arguments):
    """`python -m MODULE ARGUMENTS` in the repository, to its end."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)


def found_in(plants, folder):
    """What a harness says of each fault that a module of plants made, and of the product as it is."""
    done = in_a_process(plants, str(folder))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
