"""What Linux says about a process: of one that lives, and of one that has gone."""

from __future__ import annotations

import mmap
import os
import subprocess

import pytest

from bench.processes import children_of, cpu_seconds, descendants, proportional_mib, reset_peak, resident_mib


def test_memory_of_a_process_that_has_gone_is_nothing():
    assert proportional_mib(2**22 + 1) == 0.0
    assert descendants(2**22 + 1) == [2**22 + 1]


def test_a_child_is_a_descendant_and_has_memory_and_time_of_its_own():
    with subprocess.Popen(["sleep", "60"]) as child:
        assert child.pid in children_of(os.getpid())
        assert {os.getpid(), child.pid} <= set(descendants(os.getpid()))
        assert 0 < proportional_mib(child.pid) <= resident_mib("VmRSS", child.pid)
        assert cpu_seconds(child.pid) < cpu_seconds("self")
        child.kill()
    with pytest.raises(OSError, match="No such"):
        children_of(child.pid)


def test_a_peak_begins_again_at_what_is_held():
    with mmap.mmap(-1, 2**26) as held:
        held.write(b"x" * 2**26)
        before = resident_mib("VmHWM")
    reset_peak()
    assert resident_mib("VmRSS") <= resident_mib("VmHWM") < before - 32
