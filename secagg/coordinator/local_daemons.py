"""Starting, watching and ending the daemons of one machine: every party, and the dealer if there is one.

Each daemon is `python -m secagg.party` in a session of its own (Ctrl-C in the caller's terminal does not reach
it). Its keys, its journal and its log are in a private folder that lives as long as this object, so that a daemon that
died comes back with its memory of what was opened. The listening sockets belong to the caller and survive too.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import secagg
from secagg.deployment.new_deployment import create_deployment
from secagg.deployment.parties_file import PARTIES_FILE
from secagg.deployment.terms import Deployment, Policy
from secagg.errors import PartyFailure

__all__ = ["LocalDaemons", "local_policy"]

# A process needs seconds to import torch and CrypTen, more on a loaded machine.
_START_S = 180.0
_POLL_S = 0.05
# A daemon whose channel is closed may be on its way out; its exit code says why.
_EXIT_S = 2.0
_BACKLOG = 64


@dataclass(frozen=True)
class _Daemon:
    process: subprocess.Popen[bytes]
    lifeline: socket.socket


class LocalDaemons:
    """The daemons of one deployment on this machine; none runs before `start`.

    Args:
        parties: how many.
        policy: what they agree to.
        dealer: whether a dealer is needed; it runs as one more daemon after the parties.
        spool: folder that all parties may read parts from.

    Attributes:
        folder: where `create_deployment` put configuration and keys.
        deployment: the parties, as anyone may know them.
    """

    def __init__(self, parties: int, policy: Policy, dealer: bool, spool: Path | None = None) -> None:
        self._spool = spool
        self.folder = Path(tempfile.mkdtemp(prefix="sotto-parties-"))  # mode 0700
        self._daemons: dict[int, _Daemon] = {}
        self._listening: list[socket.socket] = []
        self._finalizer = weakref.finalize(self, _end, self._daemons, self._listening, self.folder, os.getpid())
        try:
            for _ in range(parties + dealer):
                self._listening.append(socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG))
            addresses = [("127.0.0.1", listening.getsockname()[1]) for listening in self._listening]
            self.deployment: Deployment = create_deployment(
                self.folder, addresses[:parties], policy, dealer=addresses[parties] if dealer else None
            )
        except BaseException:
            self.shutdown()
            raise
        self._names = [f"party {rank} of {parties}" for rank in range(parties)] + ["the dealer"] * dealer

    @property
    def pids(self) -> list[int]:
        """Process ids of the parties that were started, by rank."""
        return [daemon.process.pid for rank, daemon in sorted(self._daemons.items()) if rank < self._parties]

    @property
    def _parties(self) -> int:
        return len(self.deployment.parties)

    def start(self) -> None:
        """Start every daemon that is not running, and wait until each listens.

        Raises:
            PartyFailure: if one does not come up, with the last line of its log.
        """
        dead = [rank for rank in range(len(self._listening)) if not self._alive(rank)]
        for rank in dead:
            self._start(rank)
        deadline = time.monotonic() + _START_S
        for rank in dead:
            daemon = self._daemons[rank]
            daemon.lifeline.settimeout(max(0.1, deadline - time.monotonic()))
            with contextlib.suppress(OSError):
                if daemon.lifeline.recv(1):
                    continue
            reason = self.why_ended(range(len(self._listening)), _EXIT_S)
            self.end([rank])
            raise PartyFailure(reason or f"{self._names[rank]} did not start within {_START_S:g} s")

    def why_ended(self, ranks: Sequence[int], wait_s: float = 0.0) -> str | None:
        """Which of `ranks` (or another daemon, if it was killed) has ended and why; None if none has.

        Args:
            ranks: whom to wait for.
            wait_s: how long to wait for an end that is under way, in seconds.
        """
        deadline = time.monotonic() + wait_s
        while all(self._alive(rank) for rank in ranks) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        codes = {rank: daemon.process.poll() for rank, daemon in self._daemons.items()}
        ended = sorted((code, rank) for rank, code in codes.items() if code is not None)
        # A signal names a cause, then a failure; who left in good order did so because of another.
        for code, rank in ended:
            if code < 0:
                return f"{self._names[rank]} was killed by signal {-code} ({_signal_name(-code)})"
            if code > 0:
                return f"{self._names[rank]} ended with exit code {code}: {_last_line(self._log(rank))}"
        return f"{self._names[ended[0][1]]} ended" if ended else None

    def end(self, ranks: Sequence[int]) -> None:
        """Kill some daemons; `start` brings them back."""
        for rank in ranks:
            if rank in self._daemons:
                _kill(self._daemons[rank])

    def shutdown(self) -> None:
        """End all daemons at once and remove their folder; legal more than once."""
        self._finalizer()

    def _alive(self, rank: int) -> bool:
        return rank in self._daemons and self._daemons[rank].process.poll() is None

    def _log(self, rank: int) -> Path:
        return self.folder / f"daemon-{rank}.log"

    def _start(self, rank: int) -> None:
        if rank in self._daemons:
            self._daemons.pop(rank).lifeline.close()
        ours, theirs = socket.socketpair()
        root = str(Path(secagg.__file__).resolve().parent.parent)
        inherited = os.environ.get("PYTHONPATH")
        environment = {
            **os.environ,
            "PYTHONPATH": root + (os.pathsep + inherited if inherited else ""),
            "OMP_NUM_THREADS": "1",
        }
        listening = self._listening[rank].fileno()
        # -P: a file in the current folder must not stand in for a module.
        command = [sys.executable, "-P", "-m", "secagg.party", "--config", str(self.folder / PARTIES_FILE)]
        command += ["--rank", str(rank)] if rank < self._parties else ["--dealer"]
        command += ["--spool", str(self._spool)] if self._spool else []
        command += ["--listen-fd", str(listening), "--lifeline", str(theirs.fileno()), "--parent", str(os.getpid())]
        with self._log(rank).open("wb") as output, theirs:
            # This very interpreter, with numbers and folders that this process chose; no shell.
            process = subprocess.Popen(  # noqa: S603
                command,
                env=environment,
                pass_fds=[theirs.fileno(), listening],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._daemons[rank] = _Daemon(process, ours)


def local_policy(timeout_s: float, min_difference: int | None) -> Policy:
    """The policy of parties that the simulation starts for itself: n_min is the configuration's business."""
    # Whoever waits for a silent party gives up after the coordinator has named that party.
    return Policy(n_min=1, min_difference=min_difference, timeout_s=2 * timeout_s)


def _signal_name(number: int) -> str:
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return "unnamed"


def _last_line(log: Path) -> str:
    with contextlib.suppress(OSError):
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1][:300] if lines else "no message"
    return "no message"


def _kill(daemon: _Daemon) -> None:
    with contextlib.suppress(OSError):
        daemon.process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        daemon.process.wait(10)


def _end(daemons: dict[int, _Daemon], listening: list[socket.socket], folder: Path, owner: int) -> None:
    if os.getpid() != owner:
        return  # a fork of the caller: the daemons are not its own
    for daemon in daemons.values():
        with contextlib.suppress(OSError):
            daemon.process.kill()
    for daemon in daemons.values():
        _kill(daemon)
        daemon.lifeline.close()
    for end in listening:
        end.close()
    daemons.clear()
    shutil.rmtree(folder, ignore_errors=True)
