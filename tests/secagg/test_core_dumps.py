"""A process that holds secrets leaves no core dump, and neither does what it starts."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest

from secagg.core_dumps import forbid_core_dumps
from secagg.errors import SottoError
from secagg.party.daemon import run_daemon
from secagg.party.dealer_daemon import run_dealer


def limit_in_fork(act) -> bytes:
    """The soft and hard limit that a fork has after `act`."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            act()
            os.write(write, repr(resource.getrlimit(resource.RLIMIT_CORE)).encode())
        finally:
            os._exit(0)
    os.close(write)
    found = os.read(read, 100)
    os.waitpid(pid, 0)
    os.close(read)
    return found


def test_the_limit_is_zero_and_inherited():
    def act():
        forbid_core_dumps()
        command = [sys.executable, "-c", "import resource; print(resource.getrlimit(resource.RLIMIT_CORE))"]
        assert subprocess.run(command, capture_output=True, text=True).stdout.strip() == "(0, 0)"

    assert limit_in_fork(act) == b"(0, 0)"


@pytest.mark.parametrize("daemon", ["party", "dealer"])
def test_daemons_set_it_before_they_read_a_key(tmp_path, daemon):
    def act():
        with pytest.raises(SottoError):
            if daemon == "party":
                run_daemon(tmp_path / "none.yaml", 0, tmp_path, tmp_path / "journal")
            else:
                run_dealer(tmp_path / "none.yaml", tmp_path)

    assert limit_in_fork(act) == b"(0, 0)"
