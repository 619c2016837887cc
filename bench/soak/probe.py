"""What a watched process says of itself when it is asked: how many Python objects it holds.

`site_folder` makes a folder for PYTHONPATH from which every process, and every process that it starts, takes one signal
handler. The handler runs on SIGUSR1 in the main thread, between two bytecodes; nothing of the product is changed, and
no thread is added. Cycles that wait for the collector are no leak, so they are collected before the count.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import signal
import time
from pathlib import Path

from bench.places import ROOT

__all__ = ["ask_objects", "install", "site_folder"]

_FOLDER = "SOTTO_SOAK_PROBE"
_SITE = "from bench.soak.probe import install\n\ninstall()\n"


def install() -> None:
    """Answer SIGUSR1 from now on; in every process that has `site_folder` on its path."""
    if _FOLDER in os.environ:
        signal.signal(signal.SIGUSR1, _answer)
        faulthandler.register(signal.SIGUSR2)  # to see where one stands that does not come to its end


def site_folder(folder: Path) -> dict[str, str]:
    """Make the folder; returns the environment, beside PYTHONPATH's own entries, that processes need."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(_SITE)
    inherited = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([str(folder), str(ROOT), *([inherited] if inherited else [])])
    return {"PYTHONPATH": path, _FOLDER: str(folder)}


def ask_objects(pid: int, folder: Path, patience_s: float = 2.0) -> int | None:
    """Objects that the garbage collector of `pid` tracks; None if it does not say in time."""
    answer = folder / f"objects-{pid}"
    answer.unlink(missing_ok=True)
    if not _listens(pid):
        return None
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGUSR1)
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if answer.exists():
            return int(answer.read_text())
        time.sleep(0.01)
    return None


def _listens(pid: int) -> bool:
    """Whether a process has a handler of its own for SIGUSR1: to any other the signal would be the end."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status") as lines:
        caught = next((line.split()[1] for line in lines if line.startswith("SigCgt:")), "0")
        return bool(int(caught, 16) >> (signal.SIGUSR1 - 1) & 1)
    return False


def _answer(*_: object) -> None:
    gc.collect()
    count = len(gc.get_objects())
    answer = Path(os.environ[_FOLDER]) / f"objects-{os.getpid()}"
    draft = answer.with_name(f".{answer.name}")
    draft.write_text(str(count))
    draft.replace(answer)
