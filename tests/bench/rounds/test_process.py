"""A cell's rounds and its error are read, and it is ended in time with all that it started."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from bench.rounds.process import run_cell


def test_a_cells_rounds_are_read_and_its_error_is_told(tmp_path):
    good = 'print(\'noise\'); print(\'{"round": 1, "seconds": 0.5}\'); print(\'{"done": {"parameters": 7}}\')'
    result = run_cell([sys.executable, "-c", good], {}, tmp_path, 60)
    assert (result["seconds"], result["done"]) == ([0.5], {"parameters": 7})
    result = run_cell([sys.executable, "-c", "raise ValueError('no such thing')"], {}, tmp_path, 60)
    assert result["not_run"] == "ValueError: no such thing"
    result = run_cell(["/no/python"], {}, tmp_path, 60)
    assert result["not_run"] == "/no/python cannot be started: No such file or directory"


def test_a_cell_that_takes_too_long_is_ended_with_all_it_started(tmp_path):
    script = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "open('child', 'w').write(str(child.pid))\n"
        'for k in (1, 2): print(\'{"round": %d, "seconds": 1}\' % k, flush=True)\n'
        "time.sleep(60)\n"
    )
    result = run_cell([sys.executable, "-c", script], {}, tmp_path, 3)
    assert result["seconds"] == [1, 1]
    assert result["cut"] == "more than 3 s"
    assert result["peak_mib"] > 1
    child = int((tmp_path / "child").read_text())
    for _ in range(100):
        state = Path(f"/proc/{child}/stat")
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            break
        time.sleep(0.05)
    else:
        pytest.fail("the child is still running")
