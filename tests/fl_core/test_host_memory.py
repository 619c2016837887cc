"""Freed memory is kept where the C library can, and nothing is done elsewhere."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from fl_core import host_memory

IS_GLIBC = platform.libc_ver()[0] == "glibc"
# Every new page is a minor fault: freed 64 MiB come back without them.
COUNT_FAULTS = """
import resource, numpy
from fl_core.host_memory import keep_freed_memory
assert keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    numpy.ones(8 * 2**20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


@pytest.mark.skipif(not IS_GLIBC, reason="only glibc has the switches")
def test_freed_memory_is_used_again_without_new_pages():
    out = subprocess.run([sys.executable, "-c", COUNT_FAULTS], capture_output=True, text=True, check=True)
    assert int(out.stdout) < 100  # of 16,384 pages


@pytest.mark.parametrize("library", [("", ""), ("musl", "1.2")])
def test_another_c_library_is_left_alone(monkeypatch, library):
    monkeypatch.setattr(platform, "libc_ver", lambda: library)
    monkeypatch.delattr(host_memory.ctypes, "CDLL")
    assert not host_memory.keep_freed_memory()
