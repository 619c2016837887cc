"""Every kernel compiles for sm_80, sm_90 and gfx942 without spills, into the resources that are recorded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import triton

from kernels.gpu.aot import compile_variant
from kernels.gpu.chacha import aot_variants

ROOT = Path(__file__).parents[3]


def test_the_recorded_table_is_what_the_compiler_gives_and_nothing_spills():
    recorded = json.loads((ROOT / "bench" / "results" / "aot.json").read_text())
    if triton.__version__ not in recorded:
        pytest.skip(f"no table for Triton {triton.__version__}")
    # The compiler replaces the interpreter only in a process of its own.
    env = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-m", "bench.aot", "--check"], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["variants"] == len(recorded[triton.__version__])
    assert report["spills"] == []


def test_the_recorded_tables_have_no_spills():
    recorded = json.loads((ROOT / "bench" / "results" / "aot.json").read_text())
    assert recorded
    for version, table in recorded.items():
        for name, row in table.items():
            assert set(row) == {"sm_80", "sm_90", "gfx942"}, (version, name)
            assert all(resources["spilled"] == 0 for resources in row.values()), (version, name)


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") != "1", reason="the interpreter is off")
def test_compiling_under_the_interpreter_is_refused():
    with pytest.raises(RuntimeError, match="without TRITON_INTERPRET"):
        compile_variant(aot_variants()[0], "sm_90")
